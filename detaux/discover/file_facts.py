"""Read facts of the picture files from which a shard set was built: what nobody paints, but a classifier may lean on."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from PIL import ExifTags, Image, UnidentifiedImageError

from detaux.data.picture_formats import list_formats
from detaux.errors import UserError, raise_machine_fault
from detaux.runtime.progress import track
from detaux.runtime.text import show_name

FACTS = ("format", "size", "mode", "camera")
SOURCE = "discover.sources with files"


def read_facts(folder: Path, keys: Sequence[str], names: Mapping[str, str]) -> dict[str, list[str]]:
    """Return each of FACTS for each of the images `keys`, as text.

    format   Pillow's name of the format
    size     width and height in pixels, as stored
    mode     Pillow's name of the kind of pixels, such as RGB, L for grey or P for a palette
    camera   maker and model from EXIF, or "none"

    A picture lies in `folder` under its name in the data set (`names` of the manifest), which is its key unless said.
    Only headers are read. Raises UserError if a picture is not there or can no longer be read.
    """
    listed = [PurePath(names.get(key, key)) for key in keys]
    missing = [name for name in listed if not _lies_inside(name) or not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{SOURCE} reads the pictures below data.path={folder}, and {len(missing)} of {len(listed)} training images are not "
            f"there, first {show_name(str(missing[0]))}; give data.path the folder that the shards were built from, or leave "
            "files out. A name with signs that cannot be shown is not found again."
        )
    files = [folder / name for name in listed]
    facts: dict[str, list[str]] = {fact: [] for fact in FACTS}
    with track("discover: read file headers", len(files)) as advance:
        for file in files:
            for fact, value in _read_header(file).items():
                facts[fact].append(value)
            advance()
    return facts


def _lies_inside(name: PurePath) -> bool:
    """Return whether a name of a manifest, which may come from elsewhere, stays below the folder."""
    return not name.is_absolute() and ".." not in name.parts


def _read_header(file: Path) -> dict[str, str]:
    try:
        with Image.open(file, formats=list_formats()) as image:
            # Pillow decodes a whole PNG to look for EXIF data behind the pixels, where hardly a file has them
            exif = image.getexif() if image.format != "PNG" or "exif" in image.info else Image.Exif()
            maker = (str(exif.get(tag, "")).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
            return {
                "format": image.format or "none",
                "size": f"{image.width}x{image.height}",
                "mode": image.mode,
                "camera": show_name(" ".join(filter(None, maker))) or "none",
            }
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise_machine_fault(error, file)
        raise UserError(
            f"{SOURCE}: {show_name(file)} can no longer be read ({error}); build the shards again."
        ) from None
