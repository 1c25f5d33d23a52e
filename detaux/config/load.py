"""Read a config: defaults < YAML < key=value, then check it; every mistake is one sentence and exit code 2."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from detaux.config.location import find_folder
from detaux.config.schema import VGG_MIN_SIDE, Config
from detaux.errors import UserError

MAPPINGS = ("principal", "space")  # keys whose value is a mapping

FieldPath = tuple[str, dataclasses.Field[Any], Any]


def iterate_fields(cls: type = Config, prefix: str = "") -> Iterator[FieldPath]:
    """Yield (dotted key, dataclass field, type) of every leaf key, in the order of the file."""
    hints = typing.get_type_hints(cls)
    for entry in dataclasses.fields(cls):
        hint = hints[entry.name]
        if dataclasses.is_dataclass(hint):
            yield from iterate_fields(typing.cast(type, hint), f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", entry, hint


def describe_type(hint: Any) -> str:
    """The type as a user would say it: choices joined by |, `text or null`, `list of int`."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return "|".join(str(choice) for choice in typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(part) for part in typing.get_args(hint))
    if origin is list:
        return f"list of {describe_type(typing.get_args(hint)[0])}"
    names: dict[Any, str] = {str: "text", type(None): "null", Any: "any", bool: "true|false"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def describe_allowed(entry: dataclasses.Field[Any], hint: Any) -> str:
    """Type and range of a key, as the help and the error messages print it."""
    low, high, choices = (entry.metadata.get(name) for name in ("low", "high", "choices"))
    text = describe_type(hint)
    if choices:
        return f"{text}, each {'|'.join(choices)}"
    if low is not None and high is not None:
        return f"{text} from {low:.15g} to {high:.15g}"
    if low is not None:
        return f"{text} of at least {low:.15g}"
    return text


def get_value(config: Config, dotted: str) -> Any:
    """The value of a dotted key such as ``losses.distance.margin``."""
    value: Any = config
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def format_help(names: Sequence[str]) -> str:
    """One line per key named, alone or by its section: name, default, what is allowed, meaning."""
    lines = []
    defaults = Config()
    for dotted, entry, hint in iterate_fields():
        if dotted in names or dotted.split(".")[0] in names:
            default = get_value(defaults, dotted)
            shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
            lines.append(f"  {dotted}={shown}\n      {entry.metadata['meaning']} ({describe_allowed(entry, hint)})")
    return "\n".join(lines)


def _flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    known = {dotted for dotted, _, _ in iterate_fields()}
    for name, value in tree.items():
        dotted = f"{prefix}{name}"
        is_section = any(other.startswith(f"{dotted}.") for other in known)
        if is_section and isinstance(value, dict | None):
            yield from _flatten(value or {}, f"{dotted}.")
        else:
            yield dotted, value


def _check_key(dotted: str, origin: str) -> None:
    fields = {name: describe_allowed(entry, hint) for name, entry, hint in iterate_fields()}
    if dotted in fields:
        return
    if any(name.startswith(f"{dotted}.") for name in fields):
        raise UserError(f"{origin}: {dotted} is a section and takes keys, for example {dotted}.KEY=VALUE.")
    tails = {name.rsplit(".", 1)[-1]: name for name in reversed(fields)}
    near_tail = difflib.get_close_matches(dotted.rsplit(".", 1)[-1], tails, n=1, cutoff=0.75)
    nearest = difflib.get_close_matches(dotted, fields, n=1, cutoff=0.75) or [tails[tail] for tail in near_tail]
    if nearest:
        raise UserError(f"{origin}: unknown key {dotted}; the nearest is {nearest[0]} ({fields[nearest[0]]}).")
    sections = ", ".join(entry.name for entry in dataclasses.fields(Config))
    raise UserError(f"{origin}: unknown key {dotted}; the sections are {sections}.")


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML keeps the last of two equal keys in silence; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        repeated = [name for name in names if names.count(name) > 1 and name != "<<"]
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"{repeated[0]} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _describe_fault(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem}, line {error.problem_mark.line + 1} column {error.problem_mark.column + 1}"
    return " ".join(str(error).split())


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        names = [str(other) for other in path.parent.glob("*.yaml")]
        nearest = difflib.get_close_matches(str(path), names, n=1)
        raise UserError(f"config file {path} does not exist{f'; the nearest is {nearest[0]}' if nearest else ''}.")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"config file {path} is not valid YAML: {_describe_fault(error)}.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"config file {path} holds a {type(tree).__name__}; a mapping of sections is expected.")
    return tree


def _parse_override(text: str) -> tuple[str, Any]:
    """Key and value of key=value; the value is read as YAML, and as it stands where the key takes text."""
    dotted, separator, value = text.partition("=")
    if not separator or not dotted:
        raise UserError(f"argument {text!r} is not of the form key=value.")
    hints = {name: hint for name, _, hint in iterate_fields()}
    is_text = hints.get(dotted) in (str, str | None)
    try:
        parsed = yaml.load(value, _UniqueKeyLoader)
    except yaml.YAMLError as error:
        if is_text:
            return dotted, value
        raise UserError(f"argument {text!r}: the value is not valid YAML: {_describe_fault(error)}.") from None
    return dotted, value if is_text and not isinstance(parsed, str | None) else parsed


def _convert(value: Any, hint: Any) -> Any:
    # YAML 1.1 reads 1e-3 as text; a number is meant wherever the key is a number.
    if hint is float and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    # and off as false, also where it is one of the choices
    return "off" if value is False and "off" in typing.get_args(hint) else value


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Merge defaults, a YAML file and key=value overrides into a checked, frozen config.

    Raises UserError for an unknown key (with the nearest known one), a wrong type, a bad choice or a value out of
    range.
    """
    layers: list[tuple[str, str, Any]] = []
    if path is not None:
        layers += [(f"config file {path}", dotted, value) for dotted, value in _flatten(_read_yaml(Path(path)))]
    for text in overrides:
        dotted, value = _parse_override(text)
        layers.append((f"argument {text!r}", dotted, value))

    return _merge(OmegaConf.structured(Config), layers)


def change_config(config: Config, values: Mapping[str, Any], origin: str) -> Config:
    """A config with other values of some dotted keys, checked as `load_config` checks them; `origin` begins the sentence
    that names a wrong one."""
    return _merge(OmegaConf.structured(config), [(origin, dotted, value) for dotted, value in values.items()])


def _merge(merged: Any, layers: Sequence[tuple[str, str, Any]]) -> Config:
    """Set (origin, dotted key, value) one after the other, each checked."""
    fields = {dotted: (entry, hint) for dotted, entry, hint in iterate_fields()}
    for origin, dotted, value in layers:
        _check_key(dotted, origin)
        entry, hint = fields[dotted]
        allowed = describe_allowed(entry, hint)
        value = _convert(value, hint)
        wrong_bool = hint is not Any and isinstance(value, bool) != (hint is bool)
        wrong_float = hint is int and isinstance(value, float)
        try:
            if wrong_bool or wrong_float or value == MISSING:
                raise ValueError(dotted)
            if entry.name in MAPPINGS:  # a mapping replaces the one before, and adds nothing to it
                merged = OmegaConf.merge(merged, _nest(dotted, None))
            merged = OmegaConf.merge(merged, _nest(dotted, value))
            resolved = OmegaConf.select(merged, dotted, throw_on_missing=True)
        except (OmegaConfBaseException, ValueError, TypeError):
            raise UserError(f"{origin}: {dotted}={value!r} is not allowed; expected {allowed}.") from None
        _check_range(origin, dotted, resolved, entry, allowed)
    return typing.cast(Config, OmegaConf.to_object(merged))


def _nest(dotted: str, value: Any) -> dict[str, Any]:
    tree: Any = value
    for name in reversed(dotted.split(".")):
        tree = {name: tree}
    return typing.cast(dict[str, Any], tree)


def _check_range(origin: str, dotted: str, value: Any, entry: dataclasses.Field[Any], allowed: str) -> None:
    low, high, choices = (entry.metadata.get(name) for name in ("low", "high", "choices"))
    for one in value if isinstance(value, list | ListConfig) else [value]:
        if isinstance(one, list | ListConfig | dict | DictConfig) and entry.name not in MAPPINGS:
            raise UserError(f"{origin}: {dotted}={value!r} is not allowed; expected {allowed}.")
        if choices and one not in choices:
            raise UserError(f"{origin}: {dotted}={one!r} is not allowed; expected {allowed}.")
        if isinstance(one, int | float) and not (
            math.isfinite(one) and (low is None or one >= low) and (high is None or one <= high)
        ):
            raise UserError(f"{origin}: {dotted}={one!r} is out of range; expected {allowed}.")


def check_together(config: Config) -> None:
    """Raise UserError for keys that are right alone and wrong together, or that name what is not there or cannot be.

    For a config that is about to run; one that is read back beside an artefact may name files that have gone since.
    """
    if config.data.shards:
        find_folder(config.data.shards)
    main, multitask = config.disentangle.main, config.multitask
    pretrained = multitask.pretrained
    faults = {
        f"disentangle.main.batch_size={main.batch_size} is not a multiple of pairs.reuse={config.pairs.reuse}; every chain "
        "of pairs has pairs.reuse links": main.batch_size % config.pairs.reuse,
        f"multitask.backbone={multitask.backbone} needs data.side of at least {VGG_MIN_SIDE}; it is {config.data.side}": (
            multitask.backbone.startswith("vgg") and not config.data.shards and config.data.side < VGG_MIN_SIDE
        ),
        f"multitask.pretrained={pretrained} does not exist; give a safetensors file of {multitask.backbone}'s weights": (
            pretrained and not Path(pretrained).expanduser().is_file()
        ),
        f"multitask.methods={multitask.methods} has auxiliary methods and multitask.weights is empty; give a weight": (
            not multitask.weights and (multitask.controls or set(multitask.methods) - {"stl"})
        ),
    }
    for sentence, is_fault in faults.items():
        if is_fault:
            raise UserError(f"{sentence}.")


def config_to_dict(config: Config) -> dict[str, Any]:
    """The config as plain nested dicts, in the order of the dataclasses."""
    return dataclasses.asdict(config)


def dump_config(config: Config, path: Path) -> None:
    """Write the frozen config beside an artefact; the file loads again to an equal config."""
    path.write_text(yaml.safe_dump(config_to_dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")
