"""Declare a field of the config: its default, its meaning, and what it may be."""

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
    shown_choices: str | None = None,
    is_text: bool = False,
    neutral: bool = False,
    names_file: bool = False,
) -> T:
    """Declare a config field: its default, one line of meaning, and its closed range or its choices.

    `shown_choices`: how help and messages write the choices, if these are too many to list.
    `is_text`: the value holds names, which are kept as they were typed.
    `neutral`: the key changes where or how fast a run works, and never its numbers. A change of it neither repeats a
    stage nor refuses a checkpoint.
    `names_file`: the value may be the path of a file that the stage reads. Its content counts, and not its path.
    """
    metadata = {
        "meaning": meaning,
        "low": low,
        "high": high,
        "choices": choices,
        "shown_choices": shown_choices or "|".join(choices or ()),
        "is_text": is_text,
        "neutral": neutral,
        "names_file": names_file,
    }
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)
