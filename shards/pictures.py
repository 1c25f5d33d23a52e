"""Pictures of any format as squares of one size: the same picture gives the same pixels, whether it lay in a folder or a tar."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from detaux.data.decode import DEEP_MODES, FULL_SCALE, flatten_picture
from detaux.data.schema import MAX_IMAGE_PIXELS
from detaux.errors import raise_machine_fault

# What Pillow may try: formats of pixels alone. Others run a program (EPS, WMF, and IPTC files, which wrap any format) or hold no
# picture that Pillow itself can read.
FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA", "ICO", "ICNS", "JPEG2000", "AVIF"),
    *("PSD", "PCX", "SGI", "DDS", "QOI", "SUN"),
)
# suffixes of pictures that Pillow does not know, or not everywhere
OTHER_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".avif", ".webp", ".jxl", ".jxr", ".svg", ".exr", ".hdr", ".xcf"),
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),
)
# what white is in pictures of more than 16 bits a pixel, the smallest that all of them fit
SCALES = (1.0, 255.0, 65535.0)


@dataclass(frozen=True)
class Inspection:
    """What a whole decoding shows of a picture: why it cannot be used, None where it can; its mode; and the largest value of one
    with more than 16 bits a pixel, 0 of others."""

    fault: str | None
    mode: str = ""
    largest: float = 0.0


@cache
def list_formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def list_suffixes() -> frozenset[str]:
    """Suffixes of file names that promise a picture of these formats, in small letters."""
    Image.init()
    readable = (*list_formats(), "MPO")  # which is opened as the JPEG that it begins with
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)


@cache
def list_unread_suffixes() -> frozenset[str]:
    """Suffixes of file names that promise a picture of another format, in small letters."""
    return frozenset((*Image.registered_extensions(), *OTHER_SUFFIXES)) - list_suffixes()


def open_picture(source: Path | io.BytesIO, formats: Iterable[str]) -> Image.Image:
    """The first frame of a picture, decoded and turned as its EXIF data say.

    Raises ValueError, before it is decoded, when it has more than MAX_IMAGE_PIXELS, and whatever Pillow raises on a damaged one.
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
    """A picture as uint8 RGB [side, side, 3]: turned as its EXIF data say, flattened, and its middle square resized.

    `full_scale` is what white is in each of DEEP_MODES. Raises as open_picture does.
    """
    picture = flatten_picture(open_picture(source, formats or list_formats()), full_scale)
    return np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC))


def inspect_picture(path: Path) -> Inspection:
    """Decode a whole picture and say what is wrong with it, if anything.

    Raises OSError and MemoryError where the machine is at fault and not the picture.

    One whose name promises a format that is not read may still hold one that is, but not TIFF: as such, Pillow would read the
    thumbnail in a camera's raw file.
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
            f"its values go from {low:g} to {high:g}; of such pictures 0 to 1, 255 or 65,535 can be read: convert it"
        )
    return Inspection(None, picture.mode, high)


def choose_scales(inspections: Iterable[Inspection]) -> dict[str, float]:
    """What white is in each mode of more than 16 bits: one scale for the set, since a picture alone may be dark."""
    largest: dict[str, float] = {}
    for one in inspections:
        if one.mode in DEEP_MODES and one.fault is None:
            largest[one.mode] = max(largest.get(one.mode, 0.0), one.largest)
    # whole numbers of 0 and 1 alone would be a mask: they are read as 0 to 255 all the same
    scales = {"F": SCALES, "I": SCALES[1:]}
    return {mode: next(scale for scale in scales[mode] if high <= scale) for mode, high in largest.items()}
