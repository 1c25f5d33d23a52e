"""Read a config: defaults < YAML < key=value, then check it; every mistake is one sentence and exit code 2."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from detaux.config.schema import Config
from detaux.errors import UserError

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
    low, high = entry.metadata.get("low"), entry.metadata.get("high")
    text = describe_type(hint)
    if low is not None and high is not None:
        return f"{text} from {low:g} to {high:g}"
    if low is not None:
        return f"{text} of at least {low:g}"
    return text


def get_value(config: Config, dotted: str) -> Any:
    """The value of a dotted key such as ``losses.distance.margin``."""
    value: Any = config
    for name in dotted.split("."):
        value = getattr(value, name)
    return value


def format_help(sections: Sequence[str]) -> str:
    """One line per key of the sections: name, default, what is allowed, meaning."""
    lines = []
    defaults = Config()
    for dotted, entry, hint in iterate_fields():
        if dotted.split(".")[0] in sections:
            default = get_value(defaults, dotted)
            shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
            lines.append(f"  {dotted}={shown}\n      {entry.metadata['meaning']} ({describe_allowed(entry, hint)})")
    return "\n".join(lines)


def _flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    known = {dotted for dotted, _, _ in iterate_fields()}
    for name, value in tree.items():
        dotted = f"{prefix}{name}"
        is_section = any(other.startswith(f"{dotted}.") for other in known)
        if is_section and isinstance(value, dict):
            yield from _flatten(value, f"{dotted}.")
        else:
            yield dotted, value


def _check_key(dotted: str, origin: str) -> None:
    known = [name for name, _, _ in iterate_fields()]
    if dotted in known:
        return
    sections = sorted({name.rsplit(".", 1)[0] for name in known if "." in name})
    if dotted in sections:
        raise UserError(f"{origin}: {dotted} is a section and takes keys, for example {dotted}.KEY=VALUE.")
    tail = dotted.rsplit(".", 1)[-1]
    nearest = (
        difflib.get_close_matches(dotted, known, n=1, cutoff=0.75)
        or [name for name in known if name.rsplit(".", 1)[-1] == tail][:1]
    )
    if nearest:
        raise UserError(f"{origin}: unknown key {dotted}; did you mean {nearest[0]}?")
    top_sections = ", ".join(entry.name for entry in dataclasses.fields(Config))
    raise UserError(f"{origin}: unknown key {dotted}; the sections are {top_sections}.")


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"config file {path} does not exist.")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"config file {path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"config file {path} holds a {type(tree).__name__}; a mapping of sections is expected.")
    return tree


def _parse_override(text: str) -> tuple[str, Any]:
    dotted, separator, value = text.partition("=")
    if not separator or not dotted:
        raise UserError(f"argument {text!r} is not of the form key=value.")
    try:
        return dotted, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"argument {text!r}: the value is not valid YAML: {' '.join(str(error).split())}.") from None


def _convert(dotted: str, value: Any, hint: Any) -> Any:
    # YAML 1.1 reads 1e-3 as text; a number is meant wherever the key is a number.
    if hint is float and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


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

    fields = {dotted: (entry, hint) for dotted, entry, hint in iterate_fields()}
    merged = OmegaConf.structured(Config)
    for origin, dotted, value in layers:
        _check_key(dotted, origin)
        entry, hint = fields[dotted]
        allowed = describe_allowed(entry, hint)
        value = _convert(dotted, value, hint)
        wrong_bool = hint is not Any and isinstance(value, bool) != (hint is bool)
        wrong_float = hint is int and isinstance(value, float)
        try:
            if wrong_bool or wrong_float:
                raise ValueError(dotted)
            merged = OmegaConf.merge(merged, _nest(dotted, value))
        except (OmegaConfBaseException, ValueError, TypeError):
            raise UserError(f"{origin}: {dotted}={value!r} is not allowed; expected {allowed}.") from None
        _check_range(origin, dotted, value, entry, allowed)
    return typing.cast(Config, OmegaConf.to_object(merged))


def _nest(dotted: str, value: Any) -> dict[str, Any]:
    tree: Any = value
    for name in reversed(dotted.split(".")):
        tree = {name: tree}
    return typing.cast(dict[str, Any], tree)


def _check_range(origin: str, dotted: str, value: Any, entry: dataclasses.Field[Any], allowed: str) -> None:
    low, high = entry.metadata.get("low"), entry.metadata.get("high")
    if isinstance(value, (int, float)) and not (
        (low is None or value >= low) and (high is None or value <= high) and value == value
    ):
        raise UserError(f"{origin}: {dotted}={value!r} is out of range; expected {allowed}.")


def config_to_dict(config: Config) -> dict[str, Any]:
    """The config as plain nested dicts, in the order of the dataclasses."""
    return dataclasses.asdict(config)


def dump_config(config: Config, path: Path) -> None:
    """Write the frozen config beside an artefact; the file loads again to an equal config."""
    path.write_text(yaml.safe_dump(config_to_dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")
