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
    *,
    is_text: bool = False,
) -> T:
    """A config field: default, one line of meaning, and the closed range or the choices that it may take.

    `is_text`: whatever tree it holds is one of names, which are kept as they were typed.
    """
    metadata = {"meaning": meaning, "low": low, "high": high, "choices": choices, "is_text": is_text}
    if isinstance(default, list):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)
