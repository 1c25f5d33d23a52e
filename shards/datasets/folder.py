"""Open your own pictures: a folder of class folders, with any mode and size and nearly any format that Pillow reads."""

import os
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detaux.config.location import expand_path
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from detaux.runtime.progress import say
from detaux.runtime.text import show_name
from shards.picture_files import check_pictures, list_picture_files
from shards.records import Source

UNLABELLED = ("unlabelled", "unlabeled")  # the sub-folder of pictures without a label
SPLIT_FOLDERS = {  # names of sub-folders that are the parts of a split
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class PictureFile:
    """Describe a picture file: path, class folder (None: no label), and split by its top folder (None: no split)."""

    path: Path
    folder: str | None
    split: str | None


def open_folder(config: DataConfig) -> Source:
    """Open the pictures of `data.path`, one class per sub-folder. Those in `unlabelled` or in none have label -1.

    With data.split=published the sub-folders are train, validation and test, and the classes are in them. Unreadable
    files and links that are not followed are quarantined by name. Raises UserError if there are not two classes, if
    sub-folders look like a split but data.split is not published, or if more than data.max_bad_fraction is quarantined.
    """
    if not config.path:
        raise UserError("data.source=folder needs data.path, a folder with one sub-folder of pictures per class.")
    root = expand_path(config.path, "data.path")
    if not root.is_dir():
        raise UserError(f"data.path={root} is not a folder.")
    listing = list_picture_files(root)
    pictures = _place_pictures(root, listing.files, config)
    folders = sorted({one.folder for one in pictures if one.folder is not None}, key=os.fsencode)
    if len(folders) < 2:
        first = "; {file} is {reason}".format(**listing.refused[0]) if listing.refused else ""
        raise UserError(
            f"data.path={root}: {len(folders)} of its sub-folders hold files; at least two, one per class, are needed{first}."
        )
    classes = _name_classes(folders)
    label_of = {folder: label for label, folder in enumerate(folders)}
    found = check_pictures(root, [one.path for one in pictures], listing.refused, config)
    good = [pictures[position] for position in found.good]
    has_splits = any(one.split is not None for one in good)
    return Source(
        name="folder",
        factors={"class": len(classes)},
        value_names={"class": classes},
        default_principal="class",
        count=len(good),
        factor_values=np.array([[-1 if one.folder is None else label_of[one.folder]] for one in good], dtype=np.int64),
        published_split=np.array([one.split or "train" for one in good]) if has_splits else None,
        read=found.read,
        keys=found.keys,
        quarantined=found.quarantined,
        passed_over=listing.passed_over,
    )


def _place_pictures(root: Path, files: list[Path], config: DataConfig) -> list[PictureFile]:
    """Find the class and the split of each file from the folders that it is in."""
    tops = {path.relative_to(root).parts[0] for path in files if path.parent != root}
    parts = {top: SPLIT_FOLDERS.get(top.casefold()) for top in tops if top.casefold() not in UNLABELLED}
    looks_split = len(parts) > 1 and None not in parts.values() and "train" in parts.values()
    if looks_split and config.split != "published":
        raise UserError(
            f"data.path={root}: its sub-folders {', '.join(sorted(parts))} look like the parts of a split and not like classes; "
            f"set data.split=published to use them as a split, or data.path={root / _find_train(parts)} to use only one part."
        )
    flat = {path.relative_to(root).parts[0] for path in files if path.parent.parent == root}
    named = sorted(top for top, split in parts.items() if split is not None)
    if not looks_split and len(named) > 1 and "train" in parts.values() and flat.isdisjoint(named):
        others = sorted(parts.keys() - set(named))
        raise UserError(
            f"data.path={root}: its sub-folders {', '.join(named)} hold folders and look like the parts of a split, but not "
            f"{', '.join(map(show_name, others))}; move {'that' if len(others) == 1 else 'those'} away and set "
            f"data.split=published, or set data.path={root / _find_train(parts)} to use only one part."
        )
    if not looks_split:
        return [PictureFile(path, _find_class(path.relative_to(root).parts[:-1]), None) for path in files]
    pictures = []
    for path in files:
        top, *inner = path.relative_to(root).parts[:-1] or UNLABELLED[:1]
        split, folder = parts.get(top, "train"), _find_class(inner)
        if folder is None and split != "train":
            raise UserError(
                f"data.path={root}: {show_name(path.relative_to(root))} is in no class folder of {top}; only training pictures "
                "may have no label: move it into a class folder, or away."
            )
        pictures.append(PictureFile(path, folder, split))
    return pictures


def _find_train(parts: dict[str, str | None]) -> str:
    return next(top for top, split in parts.items() if split == "train")


def _find_class(folders: tuple[str, ...] | list[str]) -> str | None:
    """Return the class of a file from the folders that it is in, outermost first. None if it has no label."""
    return folders[0] if folders and folders[0].casefold() not in UNLABELLED else None


def _name_classes(folders: list[str]) -> list[str]:
    """Make a unique name for each class folder that is safe to write anywhere.

    A line on the terminal reports names that a person may confuse.
    """
    shown = [show_name(folder) for folder in folders]
    repeated = Counter(shown)
    names = [name if repeated[name] == 1 else f"{name} ({number})" for number, name in enumerate(shown, start=1)]
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    for group in alike.values():
        if len(group) > 1:
            say(f"shards: the class folders {', '.join(map(repr, group))} look alike; each is a class of its own")
    return names
