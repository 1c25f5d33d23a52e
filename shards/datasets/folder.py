"""Your own pictures: a folder of class folders, any format, mode and size that Pillow reads."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from detaux.config.schema import DataConfig
from detaux.data.decode import flatten_picture
from detaux.data.schema import MAX_IMAGE_PIXELS
from detaux.errors import UserError
from shards.records import Records, Source, check_share

BLOCK = 256
UNLABELLED = "unlabelled"  # the sub-folder of pictures without a label


def open_folder(config: DataConfig) -> Source:
    """Pictures of `data.path`, one class per sub-folder; those in `unlabelled`, or in no sub-folder, have no label: -1.

    Unreadable files, and links that are not followed, are quarantined by name. Raises UserError where there are no two
    classes, or where the quarantined share passes data.max_bad_fraction.
    """
    if not config.path:
        raise UserError("data.source=folder needs data.path, a folder with one sub-folder of pictures per class.")
    root = Path(config.path).expanduser()
    if not root.is_dir():
        raise UserError(f"data.path={root} is not a folder.")
    files, quarantined = _list_files(root)
    names = [show_name(path.relative_to(root).parts[0]) if path.parent != root else UNLABELLED for path in files]
    classes = sorted(set(names) - {UNLABELLED})
    if len(classes) < 2:
        first = "; {file} is {reason}".format(**quarantined[0]) if quarantined else ""
        raise UserError(
            f"data.path={root}: {len(classes)} of its sub-folders hold files; at least two, one per class, are needed{first}."
        )
    label_of = {name: label for label, name in enumerate(classes)}

    good = []
    for path, name in zip(files, names, strict=True):
        reason = check_picture(path)
        if reason:
            quarantined.append({"file": show_name(path.relative_to(root)), "reason": reason})
        else:
            good.append((path, label_of.get(name, -1)))
    check_share(f"data.path={root}", quarantined, len(good) + len(quarantined), config.max_bad_fraction)

    def read() -> Iterator[Records]:
        for start in range(0, len(good), BLOCK):
            yield Records(np.stack([read_picture(path, config.side) for path, _ in good[start : start + BLOCK]]))

    return Source(
        name="folder",
        factors={"class": len(classes)},
        value_names={"class": classes},
        default_principal="class",
        count=len(good),
        factor_values=np.array([[label] for _, label in good], dtype=np.int64),
        published_split=None,
        read=read,
        keys=[show_name(path.relative_to(root)) for path, _ in good],
        quarantined=quarantined,
    )


def show_name(path: Path | str) -> str:
    """A file name as text that can be written anywhere: bytes that are no UTF-8 are shown by a mark."""
    return os.fsencode(path).decode("utf-8", "replace")


def _list_files(root: Path) -> tuple[list[Path], list[dict[str, str]]]:
    """Regular files in the sub-folders of `root` and pictures, by their suffix, in itself; and the links that are not
    followed, each with the reason. Hidden ones are passed over. Raises UserError for a folder that may not be read."""
    files, refused = [], []
    for top in sorted(root.iterdir()):
        if top.is_file() and top.suffix.lower() not in Image.registered_extensions():
            continue
        is_followed = top.is_dir() and not _refuse_link(top, root)
        for path in [top, *sorted(top.rglob("*"))] if is_followed else [top]:
            if any(part.startswith(".") for part in path.relative_to(root).parts):
                continue
            reason = _refuse_link(path, root)
            if not reason and path.is_dir() and not os.access(path, os.R_OK | os.X_OK, effective_ids=True):
                raise UserError(
                    f"data.path={root}: no permission to read its folder {show_name(path.relative_to(root))}; allow it "
                    "(chmod u+rx) or move it away."
                )
            if reason:
                refused.append({"file": show_name(path.relative_to(root)), "reason": reason})
            elif path.is_file():
                files.append(path)
    return files, refused


def _refuse_link(path: Path, root: Path) -> str | None:
    """Why a link is not followed; None where it is, or where `path` is no link."""
    if not path.is_symlink():
        return None
    if not path.exists():
        return "a link to nothing"
    if not path.resolve().is_relative_to(root.resolve()):
        return "a link that leads out of data.path"
    return "a link to a folder" if path.is_dir() and path.parent != root else None


def check_picture(path: Path) -> str | None:
    """Why a file cannot be used, None where it can; the whole picture is decoded."""
    try:
        read_picture(path, 8)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        return show_name(" ".join(str(error).replace(str(path), path.name).split())) or type(error).__name__
    return None


def read_picture(path: Path, side: int) -> np.ndarray:
    """First frame of a picture, uint8 RGB [side, side, 3].

    It is turned as its EXIF data say, flattened as in flatten_picture, and its middle square is resized. Raises ValueError
    where it has more than MAX_IMAGE_PIXELS, or is PostScript, which Pillow would run a program to read.
    """
    with Image.open(path) as image:
        if image.format == "EPS":
            raise ValueError("EPS is a program, not a picture")
        if image.width * image.height > MAX_IMAGE_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels exceed {MAX_IMAGE_PIXELS}")
        picture = flatten_picture(ImageOps.exif_transpose(image))
        return np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC))
