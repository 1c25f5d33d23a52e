"""What a field of the config says of itself."""

import copy
from dataclasses import field
from typing import TypeVar

T = TypeVar("T")


def key(
    default: T,
    meaning: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> T:
    """A config field: default, one line of meaning, and the closed range or the choices that it may take."""
    metadata = {"meaning": meaning, "low": low, "high": high, "choices": choices}
    if isinstance(default, list):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)
