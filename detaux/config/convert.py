"""Convert the values of read_yaml to the types of keys: names stay as typed, numbers are decimal."""

import re
import typing
from collections.abc import Callable, Iterator
from typing import Any

from detaux.config.read_yaml import Scalar, take_text, take_values

EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+", re.ASCII)  # YAML 1.1 reads 1e-3 as text


def convert(value: Any, hint: Any, *, is_text: bool) -> Any:
    """Convert a value of read_yaml to a key's type `hint`; a number that is not decimal stays text, as it was typed."""
    if is_text:
        return take_text(value)
    if hint is Any:
        return take_values(value, _read_any)
    if isinstance(value, list) and typing.get_origin(hint) is list:
        return [_convert_scalar(one, typing.get_args(hint)[0]) for one in value]
    if isinstance(value, dict) and typing.get_origin(hint) is dict:
        return {take_text(name): _convert_scalar(one, typing.get_args(hint)[1]) for name, one in value.items()}
    return _convert_scalar(value, hint)


def _convert_scalar(value: Any, hint: Any) -> Any:
    if not isinstance(value, Scalar):
        return take_values(value)
    if hint in (str, str | None):
        return None if value.value is None else value.text
    if hint in (int, float) and type(value.value) in (int, float):
        return _read_number(value.text, hint)
    # YAML 1.1 also reads off as false, even if off is one of the key's choices
    return "off" if value.value is False and "off" in typing.get_args(hint) else value.value


def _read_any(scalar: Scalar | str) -> Any:
    """Convert a scalar of a key that allows any type: it is a number if YAML reads one, or if it has an exponent."""
    if isinstance(scalar, str):
        return float(scalar) if EXPONENT.fullmatch(scalar) else scalar
    kind = type(scalar.value)
    return _read_number(scalar.text, kind) if kind in (int, float) else scalar.value


def _read_number(text: str, kind: Callable[[str], int | float]) -> int | float | str:
    """Read a decimal number, or return the text. YAML 1.1 reads 010 as 8 and 12:30 as 750, and spells inf as .inf."""
    try:
        return kind(re.sub(r"^([+-]?)\.(inf|nan)$", r"\1\2", text, flags=re.IGNORECASE))
    except ValueError:
        return text


def iterate_texts(tree: Any) -> Iterator[str]:
    """Yield every text in a tree of mappings and lists, including names."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for one in [*tree, *tree.values()] if isinstance(tree, dict) else tree:
            yield from iterate_texts(one)
