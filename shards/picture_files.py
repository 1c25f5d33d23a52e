"""List and read the picture files of a folder, for every data set that is published as single pictures.

An unusable picture is left out and named. Pictures are read in blocks, so memory does not grow with their number.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detaux.config.schema import DataConfig
from detaux.errors import UserError, raise_machine_fault
from detaux.runtime.progress import say
from detaux.runtime.text import show_name
from shards.pictures import choose_scales, inspect_picture, list_suffixes, list_unread_suffixes, read_picture
from shards.records import Records, check_share

BLOCK = 256


@dataclass
class Listing:
    """Hold the files that may be pictures, the links that are not followed with their reasons, and the other files."""

    files: list[Path] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pictures:
    """Hold the pictures that can be used.

    good has their positions in the list that was checked, and keys their names. read yields them in that order.
    quarantined has the others, each with a reason.
    """

    good: list[int]
    keys: list[str]
    quarantined: list[dict[str, str]]
    read: Callable[[], Iterator[Records]]


def list_picture_files(root: Path) -> Listing:
    """List the files in `root` and its sub-folders, without hidden files and folders.

    Raises UserError for a folder that may not be read.
    """
    listing = Listing()
    for top in sorted(root.iterdir()):
        is_followed = top.is_dir() and not refuse_link(top, root)
        for path in [top, *sorted(top.rglob("*"))] if is_followed else [top]:
            if any(part.startswith(".") for part in path.relative_to(root).parts):
                continue
            shown, reason = show_name(path.relative_to(root)), refuse_link(path, root)
            if not reason and path.is_dir() and not os.access(path, os.R_OK | os.X_OK, effective_ids=True):
                raise UserError(
                    f"data.path={root}: no permission to read its folder {shown}; allow it (chmod u+rx) or move it away."
                )
            is_named_so = path.suffix.lower() in list_suffixes() | list_unread_suffixes()
            if reason and (is_named_so or path.is_dir() or not path.suffix):
                listing.refused.append({"file": shown, "reason": reason})
            elif path.is_file() and (is_named_so or (path.parent != root and _is_picture(path))):
                listing.files.append(path)
            elif not path.is_dir():
                listing.passed_over.append(shown)
    return listing


def _is_picture(path: Path) -> bool:
    """Return whether a file without the suffix of a picture is one."""
    return inspect_picture(path).fault is None


def refuse_link(path: Path, root: Path) -> str | None:
    """Return why a link is not followed. None if it is, or if `path` is no link."""
    if not path.is_symlink():
        return None
    if not path.exists():
        return "a broken link"
    if not path.resolve().is_relative_to(root.resolve()):
        return "a link that leads out of data.path"
    return "a link to a folder" if path.is_dir() and path.parent != root else None


def check_pictures(root: Path, paths: list[Path], refused: list[dict[str, str]], config: DataConfig) -> Pictures:
    """Decode every picture once, and return those that can be used. `refused` has the files that were left out before.

    Raises UserError if more than data.max_bad_fraction of all files cannot be used.
    """
    inspections = [inspect_picture(path) for path in paths]
    quarantined = [
        *refused,
        *(
            {"file": show_name(path.relative_to(root)), "reason": show_name(found.fault)}
            for path, found in zip(paths, inspections, strict=True)
            if found.fault is not None
        ),
    ]
    good = [position for position, found in enumerate(inspections) if found.fault is None]
    check_share(f"data.path={root}", quarantined, len(good) + len(quarantined), config.max_bad_fraction)
    scales = choose_scales(inspections)
    for mode, white in scales.items():
        kind = {"F": "real", "I": "whole"}[mode]
        say(f"shards: pictures of 32-bit {kind} numbers are read with 0 as black and {white:g} as white")

    def read() -> Iterator[Records]:
        for start in range(0, len(good), BLOCK):
            block = [_read(paths[position], config.side, scales) for position in good[start : start + BLOCK]]
            yield Records(np.stack(block))

    return Pictures(good, [show_name(paths[position].relative_to(root)) for position in good], quarantined, read)


def _read(path: Path, side: int, scales: dict[str, float]) -> np.ndarray:
    """Read a picture that was good before. Raises UserError if it no longer is, unless the machine is at fault."""
    try:
        return read_picture(path, side, full_scale=scales)
    except Exception as error:  # Pillow's decoders raise nearly anything; a mode that had no scale is a KeyError
        raise_machine_fault(error, path)
        reason = "it is gone" if isinstance(error, FileNotFoundError) else f"it can no longer be read ({error})"
        raise UserError(
            f"{show_name(path)} was changed while the shards were built: {reason}; start the command again."
        ) from None
