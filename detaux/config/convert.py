"""What read_yaml leaves as what a key means: names as they were typed, numbers read in tens."""

import re
import typing
from collections.abc import Callable, Iterator
from typing import Any

from detaux.config.read_yaml import Scalar, take_text, take_values

EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+", re.ASCII)  # YAML 1.1 reads 1e-3 as text


def convert(value: Any, hint: Any, *, is_text: bool) -> Any:
    """A value of read_yaml as a key of this type means it; a number in another notation than tens stays text, as it was typed."""
    if is_text:
        return take_text(value)
    if hint is Any:
        return take_values(value, _read_any)
    if isinstance(value, list) and typing.get_origin(hint) is list:
        return [_convert_scalar(one, typing.get_args(hint)[0]) for one in value]
    return _convert_scalar(value, hint)


def _convert_scalar(value: Any, hint: Any) -> Any:
    if not isinstance(value, Scalar):
        return take_values(value)
    if hint in (str, str | None):
        return None if value.value is None else value.text
    if hint in (int, float) and type(value.value) in (int, float):
        return _read_number(value.text, hint)
    # and off as false, also where it is one of the choices
    return "off" if value.value is False and "off" in typing.get_args(hint) else value.value


def _read_any(scalar: Scalar | str) -> Any:
    """A scalar where any type is allowed: a number where YAML or its exponent makes it one."""
    if isinstance(scalar, str):
        return float(scalar) if EXPONENT.fullmatch(scalar) else scalar
    kind = type(scalar.value)
    return _read_number(scalar.text, kind) if kind in (int, float) else scalar.value


def _read_number(text: str, kind: Callable[[str], int | float]) -> int | float | str:
    """A number in tens. YAML 1.1 reads 010 as 8, 12:30 as 750, and .inf where Python has inf."""
    try:
        return kind(re.sub(r"^([+-]?)\.(inf|nan)$", r"\1\2", text, flags=re.IGNORECASE))
    except ValueError:
        return text


def iterate_texts(tree: Any) -> Iterator[str]:
    """Every text in a tree of mappings and lists, names too."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for one in [*tree, *tree.values()] if isinstance(tree, dict) else tree:
            yield from iterate_texts(one)
