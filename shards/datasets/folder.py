"""Your own pictures: a folder of class folders, any format, mode and size that Pillow reads."""

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


def open_folder(config: DataConfig) -> Source:
    """Pictures of `data.path`, one class per sub-folder; unreadable files are quarantined by name.

    Raises UserError where there are no two classes, or where the unreadable share passes data.max_bad_fraction.
    """
    if not config.path:
        raise UserError("data.source=folder needs data.path, a folder with one sub-folder of pictures per class.")
    root = Path(config.path).expanduser()
    if not root.is_dir():
        raise UserError(f"data.path={root} is not a folder.")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    listed = {folder.name: _list_files(root, folder) for folder in folders}
    found = {name: paths for name, paths in listed.items() if paths}
    classes = list(found)
    if len(classes) < 2:
        raise UserError(
            f"data.path={root}: {len(classes)} of its sub-folders hold files; at least two, one per class, are needed."
        )
    files = [(path, label) for label, name in enumerate(classes) for path in found[name]]

    good, quarantined = [], []
    for path, label in files:
        reason = check_picture(path)
        if reason:
            quarantined.append({"file": str(path.relative_to(root)), "reason": reason})
        else:
            good.append((path, label))
    check_share(f"data.path={root}", quarantined, len(files), config.max_bad_fraction)

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
        keys=[str(path.relative_to(root)) for path, _ in good],
        quarantined=quarantined,
    )


def _list_files(root: Path, folder: Path) -> list[Path]:
    """Regular files below a class folder, hidden ones and links that leave `root` aside."""
    resolved = root.resolve()
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.resolve().is_relative_to(resolved)
    )


def check_picture(path: Path) -> str | None:
    """Why a file cannot be used, None where it can; the whole picture is decoded."""
    try:
        read_picture(path, 8)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        return " ".join(str(error).replace(str(path), path.name).split()) or type(error).__name__
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
