"""Define what a dataset gives to the builder: a Source, which yields images in blocks of Records."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from detaux.errors import UserError

BLOCK_IMAGES = 4096  # most images of a block
BLOCK_BYTES = 12 * 2**20  # most bytes of a block's resized images: 4,096 of 32 pixels, 83 of 224


@dataclass(frozen=True)
class Records:
    """Hold a run of images in the source's order, uint8 [n, side, side, 3]."""

    images: np.ndarray


@dataclass(frozen=True)
class Source:
    """Describe a dataset before it is packed.

    factors          name -> number of values, in the column order of factor_values.
    factor_values    int64 [count, F]; -1 in the main factor is a sample without a label.
    value_names      factor -> names in value order.
    published_split  [count] of "train", "validation" and "test", or None if the authors gave no split.
    quarantined      files that were left out, each with a reason.
    passed_over      files that, by their names, are no samples.
    group            factor that data.split=group keeps in one split, or None.
    """

    name: str
    factors: dict[str, int]
    value_names: dict[str, list[str]]
    default_principal: str
    count: int
    factor_values: np.ndarray
    published_split: np.ndarray | None
    read: Callable[[], Iterator[Records]]
    keys: list[str] | None = None
    quarantined: list[dict[str, str]] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    group: str | None = None


def check_share(origin: str, quarantined: list[dict[str, str]], count: int, limit: float) -> None:
    """Raise UserError if more than the fraction `limit` of `count` files, rounded up, were quarantined."""
    if len(quarantined) > math.ceil(limit * count):
        raise UserError(
            f"{origin}: {len(quarantined)} of {count} samples are unusable, more than data.max_bad_fraction={limit:g} "
            f"allows; the first is {quarantined[0]['file']} ({quarantined[0]['reason']})."
        )


def resize(images: np.ndarray, side: int) -> np.ndarray:
    """Resize images uint8 [n, S, S, 3] to [n, side, side, 3]."""
    if images.shape[1:3] == (side, side):
        return images
    resized = [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in images]
    return np.stack(resized)


def count_block(side: int) -> int:
    """Count the images of `side` pixels that make a block."""
    return min(BLOCK_IMAGES, max(1, BLOCK_BYTES // (3 * side * side)))


def read_resized(images: np.ndarray, side: int) -> Iterator[Records]:
    """Resize images uint8 [n, S, S, 3] or grey [n, S, S] in blocks, so that memory does not grow with n or `side`."""
    step = count_block(side)
    for start in range(0, len(images), step):
        block = images[start : start + step]
        yield Records(resize(block if block.ndim == 4 else to_rgb(block), side))


def to_rgb(images: np.ndarray) -> np.ndarray:
    """Turn grey uint8 [n, H, W] into three equal channels [n, H, W, 3]."""
    return np.repeat(images[..., None], 3, axis=-1)
