"""Read and check a config: defaults < YAML < key=value. Every mistake ends in one sentence and exit code 2."""

import dataclasses
import difflib
import functools
import math
import pickle
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationResolutionError, OmegaConfBaseException

from detaux.config.config_files import describe_fault, read_with_bases
from detaux.config.convert import convert, iterate_texts
from detaux.config.read_yaml import read_yaml, take_text, take_values
from detaux.config.renamed import REMOVED, RENAMED, RENAMED_CHOICES, rename
from detaux.config.schema import Config
from detaux.errors import UserError

MAPPINGS = ("principal", "space")  # keys whose value is a mapping
LIVE = re.compile(r"(?<!\\)(\\\\)*\$\{")  # OmegaConf fills these in; after an odd number of backslashes ${ is text

Layer = tuple[str, str, Any]  # origin of a value, as messages name it; dotted key; value
FieldPath = tuple[str, dataclasses.Field[Any], Any]


@functools.cache
def iterate_fields(cls: type = Config, prefix: str = "") -> tuple[FieldPath, ...]:
    """Return (dotted key, dataclass field, type) of every leaf key, in the order of the dataclasses."""
    hints, found = typing.get_type_hints(cls), list[FieldPath]()
    for entry in dataclasses.fields(cls):
        hint = hints[entry.name]
        if dataclasses.is_dataclass(hint):
            found += iterate_fields(typing.cast(type, hint), f"{prefix}{entry.name}.")
        else:
            found.append((f"{prefix}{entry.name}", entry, hint))
    return tuple(found)


@functools.cache
def _list_fields() -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    return {dotted: (entry, hint) for dotted, entry, hint in iterate_fields()}


@functools.cache
def _list_sections() -> set[str]:
    names = (dotted.split(".") for dotted in _list_fields())
    return {".".join(parts[:depth]) for parts in names for depth in range(1, len(parts))}


def describe_type(hint: Any) -> str:
    """Describe a type in a user's words: choices joined by |, `text or null`, `list of int`."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "|".join(str(choice) for choice in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(part) for part in typing.get_args(hint))
    if origin is list:
        return f"list of {describe_type(typing.get_args(hint)[0])}"
    if origin is dict:
        return f"mapping to {describe_type(typing.get_args(hint)[1])}"
    names: dict[Any, str] = {str: "text", type(None): "null", Any: "any", bool: "true|false"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def describe_allowed(entry: dataclasses.Field[Any], hint: Any) -> str:
    """Describe the type and range of a key, as the help and the error messages print them."""
    low, high, choices = (entry.metadata.get(name) for name in ("low", "high", "choices"))
    text = describe_type(hint)
    if choices:
        shown = entry.metadata["shown_choices"]
        return shown if hint is str else f"{text}, each {shown}"
    if low is not None and high is not None:
        return f"{text} from {low:.15g} to {high:.15g}"
    if low is not None:
        return f"{text} of at least {low:.15g}"
    return text


def get_value(config: Config, dotted: str) -> Any:
    """Return the value of a dotted key such as ``losses.distance.margin``."""
    value: Any = config
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def format_help(names: Sequence[str]) -> str:
    """Return the help of keys, which are named one by one or by section: name, default, meaning and allowed values."""
    lines = []
    defaults = Config()
    for dotted, entry, hint in iterate_fields():
        if dotted in names or dotted.split(".")[0] in names:
            default = get_value(defaults, dotted)
            shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
            lines.append(f"  {dotted}={shown}\n      {entry.metadata['meaning']} ({describe_allowed(entry, hint)})")
    return "\n".join(lines)


def _flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        dotted = f"{prefix}{take_text(name)}"
        is_section = dotted in _list_sections()
        if is_section and isinstance(value, dict):
            yield from _flatten(value, f"{dotted}.")
        elif not (is_section and take_values(value) is None):  # skips a section without keys, which changes nothing
            yield dotted, value


def _refuse_key(dotted: str, origin: str) -> NoReturn:
    """Raise UserError for an unknown key, with the nearest known key."""
    fields = {name: describe_allowed(entry, hint) for name, entry, hint in iterate_fields()}
    if dotted in RENAMED:
        raise UserError(f"{origin}: {dotted} is called {RENAMED[dotted]} now ({fields[RENAMED[dotted]]}).")
    if dotted in REMOVED:
        raise UserError(f"{origin}: there is no {dotted} any more; {REMOVED[dotted]}.")
    if any(name.startswith(f"{dotted}.") for name in fields):
        raise UserError(f"{origin}: {dotted} is a section and takes keys, for example {dotted}.KEY=VALUE.")
    above, _, last = dotted.rpartition(".")
    if typing.get_origin(_list_fields().get(above, (None, None))[1]) is dict:
        raise UserError(f"{origin}: {above} takes a whole mapping ({fields[above]}); give {above}={{{last}: VALUE}}.")
    tails = {name.rsplit(".", 1)[-1]: name for name in reversed(fields)}
    near_tail = difflib.get_close_matches(dotted.rsplit(".", 1)[-1], tails, n=1, cutoff=0.75)
    nearest = difflib.get_close_matches(dotted, fields, n=1, cutoff=0.75) or [tails[tail] for tail in near_tail]
    if nearest:
        raise UserError(f"{origin}: unknown key {dotted}; the nearest is {nearest[0]} ({fields[nearest[0]]}).")
    sections = ", ".join(entry.name for entry in dataclasses.fields(Config))
    raise UserError(f"{origin}: unknown key {dotted}; the sections are {sections}.")


def _parse_override(text: str) -> tuple[str, Any]:
    """Split key=value. The value of a text key stays as typed, except for null; any other value is read as YAML."""
    dotted, separator, value = text.partition("=")
    if not separator or not dotted:
        raise UserError(f"argument {text!r} is not of the form key=value.")
    _, hint = _list_fields().get(dotted, (None, None))
    if hint is str:
        return dotted, value or None
    if hint == str | None:
        return dotted, None if value in ("", "null", "~") else value
    try:
        return dotted, read_yaml(value)
    except yaml.YAMLError as error:
        raise UserError(f"argument {text!r}: the value is not valid YAML: {describe_fault(error)}.") from None


def load_config(
    path: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    is_safe: bool = False,
    is_frozen: bool = False,
    base: Config | None = None,
) -> Config:
    """Merge defaults, or another `base`, a YAML file and key=value overrides into a checked, frozen config.

    The files that the YAML file is based on come before it.
    Raises UserError for an unknown key (with the nearest known one), a wrong type, a bad choice or a value out of
    range. With `is_safe` it also refuses a value that would start a command or read the environment. The file of a stage
    is frozen: its keys and choices may have the names of an older release.
    """
    layers: list[Layer] = []
    if path is not None:
        for file, tree in read_with_bases(Path(path)):
            for dotted, value in _flatten(tree):
                if not (is_frozen and dotted in REMOVED):
                    layers.append((f"config file {file}", *(rename(dotted, value) if is_frozen else (dotted, value))))
    for text in overrides:
        dotted, value = _parse_override(text)
        layers.append((f"argument {text!r}", dotted, value))
    return _merge(layers, base or Config(), is_safe=is_safe)


def change_config(config: Config, values: Mapping[str, Any], origin: str) -> Config:
    """Return a config with other values for some dotted keys, with the same checks as `load_config`.

    `origin` is the start of the sentence that names a wrong value.
    """
    return _merge([(origin, dotted, escape_text(value)) for dotted, value in values.items()], config)


def _merge(layers: Sequence[Layer], base: Config, *, is_safe: bool = False) -> Config:
    """Set the values of the layers one after the other, and check each; return the new config."""
    if not layers:
        return base
    merged, fields, defaults = pickle.loads(_pickle_defaults()), _list_fields(), Config()
    # all other keys have their defaults, so there is nothing to set or check
    changed: dict[str, Layer] = {}
    for origin, dotted, typed in layers:
        if dotted not in fields:
            _refuse_key(dotted, origin)
        entry, hint = fields[dotted]
        with _name_faults((origin, dotted, typed)):
            value = convert(typed, hint, is_text=entry.metadata["is_text"])
            for text in iterate_texts(value):
                _check_text(origin, dotted, text, is_safe=is_safe)
        # compares by repr, because 1 equals True and 1.0
        if dotted not in changed and repr(value) == repr(get_value(defaults, dotted)):
            continue
        changed[dotted] = (origin, dotted, value)
        _set_value(merged, changed[dotted])
        _resolve(merged, changed[dotted])
    for dotted in {dotted for _, dotted, _ in layers}:
        # resolves again, because a later layer may have changed the value behind a ${}
        value = _resolve(merged, changed[dotted]) if dotted in changed else get_value(defaults, dotted)
        base = _replace_value(base, dotted, value)
    return base


def _set_value(merged: DictConfig, layer: Layer) -> None:
    _, dotted, value = layer
    _, hint = _list_fields()[dotted]
    wrong_bool = hint is not Any and isinstance(value, bool) != (hint is bool)
    wrong_float = hint is int and isinstance(value, float)
    with _name_faults(layer):
        if wrong_bool or wrong_float or value == MISSING:
            raise ValueError(dotted)
        # a mapping replaces the earlier mapping; the two are not merged
        OmegaConf.update(merged, dotted, value, merge=False)


def _resolve(merged: DictConfig, layer: Layer) -> Any:
    """Return the value of a layer's key with its ${} filled in, and check it."""
    dotted = layer[1]
    with _name_faults(layer):
        value = OmegaConf.select(merged, dotted, throw_on_missing=True)
        value = OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value
        _check_range(layer, value)
    return value


@contextmanager
def _name_faults(layer: Layer) -> Iterator[None]:
    """Turn what OmegaConf refuses into a UserError about the layer."""
    origin, dotted, value = layer
    try:
        yield
    except (InterpolationResolutionError, GrammarParseError) as error:
        raise UserError(f"{origin}: {dotted}={value!r} cannot be filled in: {_explain(error)}.") from None
    except RecursionError:
        raise UserError(f"{origin}: {dotted} is nested too deeply; expected {_describe_key(dotted)}.") from None
    except (OmegaConfBaseException, ValueError, TypeError):
        raise UserError(f"{origin}: {dotted}={value!r} is not allowed; expected {_describe_key(dotted)}.") from None


@functools.cache
def _pickle_defaults() -> bytes:
    """Pickle the defaults as OmegaConf, because building them from the dataclasses is slow and unpickling is fast."""
    merged = OmegaConf.structured(Config)
    _unlock(merged)
    return pickle.dumps(merged)


def _replace_value(section: Any, dotted: str, value: Any) -> Any:
    name, _, rest = dotted.partition(".")
    return dataclasses.replace(
        section, **{name: _replace_value(getattr(section, name), rest, value) if rest else value}
    )


def escape_text(tree: Any) -> Any:
    """Escape the texts of a value so that OmegaConf keeps them as they are, even if they contain ${."""
    return map_text(tree, lambda text: re.sub(r"(\\*)\$\{", r"\1\1\\${", text))


def map_text(tree: Any, change: Callable[[str], str]) -> Any:
    """Return a tree of mappings and lists with `change` applied to each text."""
    if isinstance(tree, dict):
        return {map_text(name, change): map_text(value, change) for name, value in tree.items()}
    if isinstance(tree, list):
        return [map_text(value, change) for value in tree]
    return change(tree) if isinstance(tree, str) else tree


def _explain(error: OmegaConfBaseException) -> str:
    """Explain why a ${} cannot be filled in, without the exception's type and the trace of keys that OmegaConf adds."""
    reason = str(error).splitlines()[0].split("resolving interpolation: ")[-1].strip("'\"")
    if isinstance(error, GrammarParseError):
        reason = "its ${...} cannot be read"
    return f"{reason}; write \\${{ for the characters ${{"


def _check_text(origin: str, dotted: str, text: str, *, is_safe: bool) -> None:
    """Refuse a text with a NUL character; with `is_safe` also a text that starts a command or is filled in."""
    if "\0" in text:
        raise UserError(f"{origin}: {dotted}={text!r} holds a NUL character, \\0, which is not allowed.")
    if is_safe and LIVE.search(text):
        raise UserError(f"{origin}: {dotted}={text!r} is filled in from elsewhere by ${{...}}, which --safe refuses.")
    if is_safe and dotted == "data.shards" and text.startswith("pipe:"):
        raise UserError(f"{origin}: {dotted}={text!r} would start a command, which --safe refuses.")


def _unlock(merged: DictConfig) -> None:
    """Make all sections of a config writable, because OmegaConf marks those of frozen dataclasses read-only."""
    OmegaConf.set_readonly(merged, False)
    for name in merged:
        section = merged._get_node(name)
        if isinstance(section, DictConfig) and dataclasses.is_dataclass(section._metadata.object_type):
            _unlock(section)


def _describe_key(dotted: str) -> str:
    return describe_allowed(*_list_fields()[dotted])


def _check_range(layer: Layer, value: Any) -> None:
    origin, dotted, _ = layer
    entry, hint = _list_fields()[dotted]
    low, high, choices = (entry.metadata.get(name) for name in ("low", "high", "choices"))
    if typing.get_origin(hint) is dict:
        value = list(value.values())
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, list | dict) and entry.name not in MAPPINGS:
            raise UserError(f"{origin}: {dotted}={value!r} is not allowed; expected {_describe_key(dotted)}.")
        if choices and one not in choices:
            if new := RENAMED_CHOICES.get(dotted, {}).get(one):
                raise UserError(f"{origin}: {dotted}: {one} is called {new} now.")
            raise UserError(f"{origin}: {dotted}={one!r} is not allowed; expected {_describe_key(dotted)}.")
        if isinstance(one, int | float) and not (
            abs(one) < math.inf and (low is None or one >= low) and (high is None or one <= high)
        ):
            raise UserError(f"{origin}: {dotted}={one!r} is out of range; expected {_describe_key(dotted)}.")
