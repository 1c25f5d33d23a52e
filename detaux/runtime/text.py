"""Make text from files and strangers safe to print: nothing in it acts on the terminal or looks like another line."""

import os
from pathlib import Path


def show_text(text: str) -> str:
    """Spell out control characters, line breaks and invisible marks of a text, as \\x1b or \\u202e."""
    return "".join(one if one.isprintable() else _spell(one) for one in text)


def show_name(path: Path | str) -> str:
    """Return a file name as text that can be written anywhere.

    Bytes that are not UTF-8 are spelled out, as \\xb9, so that different names stay different.
    """
    return show_text(os.fsencode(path).decode("utf-8", "backslashreplace"))


def _spell(one: str) -> str:
    return one.encode("unicode_escape", "surrogatepass").decode("ascii")
