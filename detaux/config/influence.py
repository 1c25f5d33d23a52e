"""Find which keys the numbers of a stage depend on."""

import functools

from detaux.config.load import iterate_fields
from detaux.stages import COMMANDS


@functools.cache
def list_neutral() -> frozenset[str]:
    """Return the keys that are declared neutral: they change where or how fast a run works, never its numbers."""
    return frozenset(dotted for dotted, entry, _ in iterate_fields() if entry.metadata["neutral"])


def reads(command: str, dotted: str) -> bool:
    """Decide whether the numbers of a stage or another command depend on a key."""
    row = COMMANDS[command]
    if dotted in list_neutral() or dotted in row.ignores:
        return False
    return any(dotted == name or dotted.startswith(f"{name}.") for name in row.reads)
