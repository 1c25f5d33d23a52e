"""Decode the members of shards safely: only allowed suffixes, sizes checked before memory is allocated, no pickle."""

import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from detaux.data.file_images import FileImages, StoredFile
from detaux.data.schema import IMAGE_SUFFIXES, MAX_IMAGE_PIXELS

PIL_FORMATS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
PACKED_FIELDS = ("images.npy", "labels.npy", "keys.txt", "factors.npy")
STANDARD_FIELDS = (*IMAGE_SUFFIXES, "cls", "json")
MAX_TEXT_BYTES = 2**24
MAX_ARRAY_BYTES = 2**31
MAX_HEADER_BYTES = 2**14  # most bytes of a .npy header; numpy itself refuses more than 10,000
DEEP_MODES = ("I", "F")  # Pillow's modes of 32 bits a pixel, whole and real numbers; no value is always white in them
FULL_SCALE = {"I": 65535.0, "F": 1.0}
META_NAME = re.compile(r"__[^/]*__($|/)")


class BadSampleError(ValueError):
    """Report a tar member that is missing, malformed or not allowed. The message names it."""


@dataclass(frozen=True)
class BlockArrays:
    """Hold n decoded samples.

    images uint8 [n, H, W, C], in memory or still in their file; labels int64 [n], -1 if there is none; n keys; factors
    int64 [n, F] or None.
    """

    images: np.ndarray | FileImages
    labels: np.ndarray
    keys: list[str]
    factors: np.ndarray | None


@dataclass(frozen=True)
class MemberPlace:
    """Hold the place of a tar member that stays in its file: file, first byte, size, and the first bytes, `head`."""

    file: StoredFile
    offset: int
    size: int
    head: bytes


def iterate_groups(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    """Group the members of a tar as webdataset does: members in a row with one key form a group."""
    from webdataset.tariterators import tar_file_iterator  # here, since it imports torch

    return group_members((member["fname"], member["data"]) for member in tar_file_iterator(stream))


def group_members(members: Iterable[tuple[str, bytes | memoryview | MemberPlace]]) -> Iterator[dict[str, Any]]:
    """Group members given as (name, data). Members called __*__ are left out, as webdataset does."""
    from webdataset.tariterators import group_by_keys

    return group_by_keys(
        {"fname": name, "data": data, "__url__": ""} for name, data in members if not META_NAME.match(name)
    )


def decode_image(data: bytes, suffix: str, name: str) -> np.ndarray:
    """Decode the first frame of an image member to uint8 RGB [H, W, 3] by flatten_picture.

    Raises BadSampleError if the image is unreadable, too large, or of another format than its suffix names.
    """
    if suffix not in PIL_FORMATS:
        raise BadSampleError(f"{name}: .{suffix} is no image format of a shard; allowed are {', '.join(PIL_FORMATS)}")
    try:
        with Image.open(io.BytesIO(data), formats=[PIL_FORMATS[suffix]]) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise BadSampleError(f"{name}: {image.width} x {image.height} pixels exceed {MAX_IMAGE_PIXELS}")
            return np.asarray(flatten_picture(image))
    except BadSampleError:
        raise
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        raise BadSampleError(f"{name}: not a readable {suffix}: {error}") from None


def flatten_picture(picture: Image.Image, full_scale: Mapping[str, float] = FULL_SCALE) -> Image.Image:
    """Convert a picture of any mode to 8-bit RGB.

    Transparent parts are laid over white. Pixels of more than 8 bits are scaled down.
    `full_scale` gives the value of white in each of DEEP_MODES. Pictures of 16 bits have white at 65,535.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture).astype(np.float64)
        white = full_scale[picture.mode] if picture.mode in DEEP_MODES else 65535.0
        picture = Image.fromarray(np.round(values / white * 255).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def decode_npy(data: bytes | memoryview, name: str, dtype: type, ndim: int) -> np.ndarray:
    """Decode a .npy member that must have exactly this dtype and number of dimensions.

    Object arrays are refused before they are read. An array of bytes is a view of `data` and writable if `data` is.
    """
    shape, begin = _parse_npy(data[:MAX_HEADER_BYTES], len(data), name, dtype, ndim)
    count = math.prod(shape)
    values: np.ndarray = np.frombuffer(data, dtype, count, begin) if count else np.empty(0, dtype)
    if values.itemsize > 1:
        values = values.copy()  # its first byte may not be aligned
    return values.reshape(shape)


def locate_npy(member: MemberPlace, name: str) -> FileImages:
    """Locate the images of a .npy member that stay in their file."""
    shape, begin = _parse_npy(member.head, member.size, name, np.uint8, 4)
    return FileImages.locate(member.file, member.offset + begin, shape)


def _parse_npy(head: bytes | memoryview, size: int, name: str, dtype: type, ndim: int) -> tuple[tuple[int, ...], int]:
    """Return the shape of a .npy member of `size` bytes and the byte at which its values start. `head` is its start."""
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, is_fortran, found = read_header(stream)
        begin, expected = stream.tell(), math.prod(shape) * found.itemsize
        if found != np.dtype(dtype) or len(shape) != ndim or is_fortran or min(shape, default=0) < 0:
            order = ", in Fortran order" if is_fortran else ""
            raise BadSampleError(
                f"{name}: {found} array of {len(shape)} dimensions{order}; {np.dtype(dtype)} of {ndim} in C order expected"
            )
        if max(expected, *shape) > MAX_ARRAY_BYTES or expected != size - begin:
            raise BadSampleError(f"{name}: header promises {expected} bytes, {size - begin} follow")
    except BadSampleError:
        raise
    except Exception as error:  # numpy parses a header as a literal, which raises nearly anything on hostile bytes
        raise BadSampleError(f"{name}: not a readable npy: {error}") from None
    return shape, begin


def decode_integer(data: bytes, name: str) -> int:
    """Decode the integer in a .cls member."""
    if not re.fullmatch(rb"\s*-?\d{1,18}\s*", data):
        raise BadSampleError(f"{name}: not an integer")
    return int(data)


def decode_json(data: bytes, name: str) -> dict[str, Any]:
    """Decode the object in a .json member."""
    try:
        value = json.loads(data.decode("utf-8")) if len(data) <= MAX_TEXT_BYTES else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadSampleError(f"{name}: not a JSON object")
    return value


def decode_group(group: dict[str, Any], layout: str, side: int, channels: int) -> BlockArrays:
    """Decode one member group of webdataset: a block in the packed layout, a sample in the standard layout.

    Raises BadSampleError, naming the member, if one is missing, is not allowed, or has another size than the
    manifest's.
    """
    key = str(group["__key__"])
    fields = {name: value for name, value in group.items() if not name.startswith("__")}
    allowed = PACKED_FIELDS if layout == "packed" else STANDARD_FIELDS
    for name in fields:
        if name not in allowed:
            raise BadSampleError(f"{key}.{name}: not a field of a {layout} shard")
    block = _decode_packed(key, fields) if layout == "packed" else _decode_standard(key, fields)
    if block.images.shape[1:] != (side, side, channels):
        found = "x".join(str(size) for size in block.images.shape[1:])
        raise BadSampleError(f"{key}: images are {found}; the manifest says {side}x{side}x{channels}")
    return block


def _decode_packed(key: str, fields: dict[str, Any]) -> BlockArrays:
    for name in PACKED_FIELDS[:3]:
        if name not in fields:
            raise BadSampleError(f"{key}.{name}: missing")
    name, stored = f"{key}.images.npy", fields["images.npy"]
    images = locate_npy(stored, name) if isinstance(stored, MemberPlace) else decode_npy(stored, name, np.uint8, 4)
    labels = decode_npy(fields["labels.npy"], f"{key}.labels.npy", np.int64, 1)
    if len(fields["keys.txt"]) > MAX_TEXT_BYTES:
        raise BadSampleError(f"{key}.keys.txt: larger than {MAX_TEXT_BYTES} bytes")
    keys = fields["keys.txt"].decode("utf-8", "replace").splitlines()
    factors = None
    if "factors.npy" in fields:
        factors = decode_npy(fields["factors.npy"], f"{key}.factors.npy", np.int64, 2)
    lengths = {len(images), len(labels), len(keys), *(() if factors is None else (len(factors),))}
    if len(lengths) != 1:
        raise BadSampleError(f"{key}: fields disagree on the number of samples: {sorted(lengths)}")
    return BlockArrays(images, labels, keys, factors)


def _decode_standard(key: str, fields: dict[str, bytes]) -> BlockArrays:
    suffixes = [name for name in fields if name in IMAGE_SUFFIXES]
    if len(suffixes) != 1:
        raise BadSampleError(f"{key}: one image member is needed, {len(suffixes)} found")
    image = decode_image(fields[suffixes[0]], suffixes[0], f"{key}.{suffixes[0]}")
    if "cls" not in fields:
        raise BadSampleError(f"{key}.cls: missing")
    label = decode_integer(fields["cls"], f"{key}.cls")
    factors = None
    if "json" in fields:
        values = decode_json(fields["json"], f"{key}.json").get("factors", [])
        if not isinstance(values, list) or not all(type(value) is int and 0 <= value < 2**31 for value in values):
            raise BadSampleError(f"{key}.json: factors is not a list of integers from 0 on")
        factors = np.asarray([values], dtype=np.int64) if values else None
    return BlockArrays(image[None], np.asarray([label], dtype=np.int64), [key], factors)
