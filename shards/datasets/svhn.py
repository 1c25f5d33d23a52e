"""Open SVHN's cropped digits: 73,257 + 26,032 house numbers of 32 x 32 pixels in MATLAB files (Netzer et al., 2011)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.mat import read_mat
from shards.published import find_published, refuse_swapped
from shards.records import Records, Source, read_resized

SIDE = 32
FILES = ("train_32x32.mat", "test_32x32.mat")
PUBLISHED = (73257, 26032)
EXTRA = 531131  # images of extra_32x32.mat, which is not read
WANTED = f"the folder of the published {' and '.join(FILES)} (format 2, cropped digits)"


def open_svhn(config: DataConfig) -> Source:
    """Return both published splits, the training split first. The files write the digit 0 as 10.

    Raises UserError if a file is missing, damaged, a copy of the other, has other arrays, or is in the place of another.
    """
    folder = find_published(config, WANTED)
    for name in FILES:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} does not exist; data.path must be {WANTED}.")
    parts = [_read_part(folder / name) for name in FILES]
    if all(np.array_equal(one, other) for one, other in zip(parts[0][::-1], parts[1][::-1], strict=True)):
        raise UserError(f"{folder}: {FILES[1]} has the images and labels of {FILES[0]}; one is a copy of the other.")
    counts = (len(parts[0][1]), len(parts[1][1]))
    refuse_swapped(str(folder), counts, PUBLISHED)
    for name, count in zip(FILES, counts, strict=True):
        if count == EXTRA:
            raise UserError(f"{folder / name} has {EXTRA:,} images: it is the published extra_32x32.mat, not {name}.")
    labels = np.concatenate([labels for _, labels in parts])

    def read() -> Iterator[Records]:
        for images, _ in parts:
            yield from read_resized(images.transpose(3, 0, 1, 2), config.side)

    return Source(
        name="svhn",
        factors={"digit": 10},
        value_names={"digit": [str(value) for value in range(10)]},
        default_principal="digit",
        count=len(labels),
        factor_values=labels[:, None],
        published_split=np.repeat(["train", "test"], counts),
        read=read,
    )


def _read_part(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the images uint8 [32, 32, 3, N] and the digits int64 [N] of a file."""
    arrays = read_mat(path, ["X", "y"])
    images, labels = np.asarray(arrays["X"]), np.asarray(arrays["y"])
    labels = labels.reshape(-1) if labels.ndim == 2 and 1 in labels.shape else labels
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (SIDE, SIDE, 3):
        raise UserError(f"{path}: X is {images.dtype} {list(images.shape)}; uint8 [{SIDE}, {SIDE}, 3, N] is expected.")
    if labels.shape != images.shape[3:]:
        raise UserError(f"{path}: X has {images.shape[3]} images, but y is {list(labels.shape)}; they do not fit.")
    if labels.dtype.kind not in "iuf" or not np.isin(labels, range(1, 11)).all():
        raise UserError(f"{path}: y has labels other than 1 to 10; SVHN writes the digit 0 as 10.")
    return images, labels.astype(np.int64) % 10
