"""Read pictures of any format as squares of one size. The same picture gives the same pixels from a folder or a tar."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from detaux.data.decode import DEEP_MODES, FULL_SCALE, flatten_picture
from detaux.data.picture_formats import list_formats
from detaux.data.schema import MAX_IMAGE_PIXELS
from detaux.errors import raise_machine_fault

# suffixes of pictures that Pillow does not know, or only in some builds
OTHER_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".avif", ".webp", ".jxl", ".jxr", ".svg", ".exr", ".hdr", ".xcf"),
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),
)
# possible values of white in pictures of more than 16 bits a pixel; the smallest that fits all of a set is chosen
SCALES = (1.0, 255.0, 65535.0)


@dataclass(frozen=True)
class Inspection:
    """Hold what decoding a whole picture showed.

    fault says why it cannot be used, None if it can. mode is Pillow's. largest is the largest value of a picture with
    more than 16 bits a pixel, and 0 for others.
    """

    fault: str | None
    mode: str = ""
    largest: float = 0.0


@cache
def list_suffixes() -> frozenset[str]:
    """List the file suffixes of the formats that are read, in lower case."""
    Image.init()
    readable = (*list_formats(), "MPO")  # an MPO file starts with a JPEG, which is read
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)


@cache
def list_unread_suffixes() -> frozenset[str]:
    """List the file suffixes of picture formats that are not read, in lower case."""
    return frozenset((*Image.registered_extensions(), *OTHER_SUFFIXES)) - list_suffixes()


def open_picture(source: Path | io.BytesIO, formats: Iterable[str]) -> Image.Image:
    """Decode the first frame of a picture and turn it as its EXIF data say.

    Raises ValueError before decoding if it has more than MAX_IMAGE_PIXELS. On a damaged picture, any error of Pillow
    passes through.
    """
    with Image.open(source, formats=list(formats)) as image:
        if image.width * image.height > MAX_IMAGE_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels exceed {MAX_IMAGE_PIXELS}")
        return ImageOps.exif_transpose(image)


def read_picture(
    source: Path | io.BytesIO,
    side: int,
    formats: Iterable[str] | None = None,
    full_scale: Mapping[str, float] = FULL_SCALE,
) -> np.ndarray:
    """Read a picture as uint8 RGB [side, side, 3]: turned by its EXIF data, flattened, and its middle square resized.

    `full_scale` gives the value of white in each of DEEP_MODES. Raises the errors of open_picture.
    """
    picture = flatten_picture(open_picture(source, formats or list_formats()), full_scale)
    return np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC))


def inspect_picture(path: Path) -> Inspection:
    """Decode a whole picture and say what is wrong with it, if anything.

    Raises OSError and MemoryError if the fault is the machine's and not the picture's.

    A file with the suffix of a format that is not read may still hold one that is. TIFF is not tried on it, because
    Pillow would then read the thumbnail in a camera's raw file.
    """
    is_unread = path.suffix.lower() in list_unread_suffixes()
    try:
        picture = open_picture(path, [name for name in list_formats() if not (is_unread and name == "TIFF")])
        if picture.mode not in DEEP_MODES:
            flatten_picture(picture)
            return Inspection(None, picture.mode)
        values = np.asarray(picture)
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged files
        raise_machine_fault(error, path)
        if is_unread:
            return Inspection(f"{path.suffix[1:].upper()} is not read; convert it to JPEG or PNG")
        return Inspection(" ".join(str(error).replace(str(path), path.name).split()) or type(error).__name__)
    if not np.isfinite(values).all():
        return Inspection("some of its values are not finite")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > SCALES[-1]:
        return Inspection(
            f"its values go from {low:g} to {high:g}; in pictures of 32-bit numbers, 0 to 1, 255 or 65,535 are read: convert it"
        )
    return Inspection(None, picture.mode, high)


def choose_scales(inspections: Iterable[Inspection]) -> dict[str, float]:
    """Choose white in each mode of more than 16 bits: one value for the set, because a single picture may be dark."""
    largest: dict[str, float] = {}
    for one in inspections:
        if one.mode in DEEP_MODES and one.fault is None:
            largest[one.mode] = max(largest.get(one.mode, 0.0), one.largest)
    # whole numbers of only 0 and 1 would be a mask, but they too are read on a scale of 0 to 255
    scales = {"F": SCALES, "I": SCALES[1:]}
    return {mode: next(scale for scale in scales[mode] if high <= scale) for mode, high in largest.items()}
