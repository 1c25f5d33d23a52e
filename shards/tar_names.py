"""List the tars that `data.path` names: one, those of a folder, or those of a pattern. A missing one is an error."""

import glob
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from braceexpand import braceexpand

from detaux.config.location import expand_path
from detaux.errors import UserError
from detaux.runtime.text import show_name
from shards.tars import SUFFIXES, UNREAD, describe_unread

MOST_NAMES = 10**5  # most names that the braces of a pattern may stand for


@dataclass(frozen=True)
class Tars:
    """Hold the tars that `data.path` names, sorted, and the other files of its folder, which have no name of a tar."""

    paths: list[Path]
    passed_over: list[str] = field(default_factory=list)


def list_tars(pattern: str | None) -> Tars:
    """List the tars that `data.path` names. A file or folder that exists by that name is not read as a pattern.

    Raises UserError if there is no tar, if a named one is missing, or if a folder holds one that cannot be read.
    """
    if not pattern:
        raise UserError("data.source=webdataset needs data.path, a tar, a folder of tars, or a pattern of them.")
    root = expand_path(pattern, "data.path")
    if os.path.isfile(root):  # a pattern may be too long for a file name, and then Path.is_file() fails
        return Tars([root])
    found = _list_folder(root) if os.path.isdir(root) else Tars(_expand_pattern(pattern, str(root)))
    if not found.paths:
        raise UserError(f"data.path={pattern} names no tar file; the name of a tar ends in {', '.join(SUFFIXES)}.")
    return found


def _list_folder(root: Path) -> Tars:
    """List the tars in a folder.

    Raises UserError for a tar in a sub-folder, for one that is no file, and for a compression that is not read.
    """
    found = Tars([])
    for path in sorted(root.rglob("*")):
        inner = path.relative_to(root)
        if any(part.startswith(".") for part in inner.parts) or (path.is_dir() and not path.is_symlink()):
            continue
        name, shown = path.name.lower(), f"data.path={root}: {show_name(inner)}"
        if unread := next((kind for suffix, kind in UNREAD.items() if name.endswith(suffix)), None):
            raise UserError(f"{shown} is {describe_unread(unread)}, or move it away.")
        if not name.endswith(SUFFIXES):
            found.passed_over.append(show_name(inner))
        elif not path.is_file():
            raise UserError(f"{shown} is {_describe_fault(path)}; mend it or move it away.")
        elif path.parent != root:
            raise UserError(
                f"{shown} is in a sub-folder; data.path={root}/**/*.tar takes such tars too, and data.path={root}/*.tar only "
                "those of the folder itself."
            )
        else:
            found.paths.append(path)
    return found


def _describe_fault(path: Path) -> str:
    """Say what a path is if it is no regular file."""
    if path.is_dir():
        return "a folder"
    return "a broken link" if path.is_symlink() and not path.exists() else "not a regular file"


def _expand_pattern(pattern: str, text: str) -> list[Path]:
    """List the files of a pattern, sorted. The list is empty if it names none.

    Raises UserError if only some names of its braces are files, or if one is not a regular file.
    """
    try:
        count = count_names(text)
        names = list(braceexpand(text)) if count <= MOST_NAMES else []
    except ValueError:  # unbalanced braces, or a number of thousands of digits
        raise UserError(f"data.path={pattern} does not exist, and its braces {{}} are not a valid pattern.") from None
    if count > MOST_NAMES:
        raise UserError(
            f"data.path={pattern} stands for more than {MOST_NAMES} names; a glob such as *.tar is shorter."
        )
    found: set[Path] = set()
    missing = []
    for name in names:
        # a name without wildcards needs no glob, which would look it up a second time
        paths = glob.glob(name, recursive=True) if glob.has_magic(name) else [name] * os.path.lexists(name)
        found.update(map(Path, paths))
        if not paths:
            missing.append(name)
    if found and missing:
        raise UserError(
            f"data.path={pattern}: {len(missing)} of the {len(names)} names that its braces stand for match no file; the first "
            f"is {show_name(missing[0])}."
        )
    for path in sorted(found):
        if not path.is_file():
            raise UserError(
                f"data.path={pattern}: {show_name(path)} is {_describe_fault(path)}; mend it or move it away."
            )
    return sorted(found)


def count_names(text: str) -> int:
    """Count the names that the braces of a pattern stand for, from the inside out. Listing them could take for ever."""
    counts = [1]  # names of each pair of braces so far; the text keeps its index here between two NUL characters

    def multiply(part: str) -> int:
        return math.prod(counts[int(number)] for number in re.findall(r"\0(\d+)\0", part))

    while found := re.search(r"\{([^{}]*)\}", text):
        if ends := re.fullmatch(r"(-?\d+)\.\.(-?\d+)(?:\.\.-?(\d+))?", found[1]):
            counts.append(1 + abs(int(ends[2]) - int(ends[1])) // (int(ends[3] or 1) or 1))
        elif ends := re.fullmatch(r"([a-zA-Z])\.\.([a-zA-Z])(?:\.\.-?(\d+))?", found[1]):
            counts.append(1 + abs(ord(ends[2]) - ord(ends[1])) // (int(ends[3] or 1) or 1))
        else:
            counts.append(sum(map(multiply, found[1].split(","))))
        text = f"{text[: found.start()]}\0{len(counts) - 1}\0{text[found.end() :]}"
    return multiply(text)
