"""Open Fashion-MNIST: 60,000 + 10,000 grey product photographs of 28 x 28 pixels in IDX files (Xiao et al., 2017)."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from detaux.config.location import expand_path
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from detaux.runtime.readers import describe_damage
from shards.records import Source, read_resized

DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts them
CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
MOST_BYTES = 2**30  # limit of a file; the largest of the data set has 47 million


def open_fashion_mnist(config: DataConfig) -> Source:
    """Return both published splits, the training split first."""
    folder = expand_path(config.path, "data.path") if config.path else DEFAULT_FOLDER
    parts = [
        (read_idx(folder, f"{name}-images-idx3-ubyte", 3), read_idx(folder, f"{name}-labels-idx1-ubyte", 1))
        for name in ("train", "t10k")
    ]
    for images, labels in parts:
        if len(images) != len(labels):
            raise UserError(
                f"{folder}: {len(images)} images but {len(labels)} labels; the files do not belong together."
            )
    images = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts]).astype(np.int64)
    if labels.max(initial=0) >= len(CLASSES):
        raise UserError(f"{folder}: label {labels.max()} found; Fashion-MNIST has labels 0 to {len(CLASSES) - 1}.")

    return Source(
        name="fashion_mnist",
        factors={"class": len(CLASSES)},
        value_names={"class": CLASSES},
        default_principal="class",
        count=len(images),
        factor_values=labels[:, None],
        published_split=np.repeat(["train", "test"], [len(labels) for _, labels in parts]),
        read=lambda: read_resized(images, config.side),
    )


def read_idx(folder: Path, name: str, dimensions: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, plain or gzipped. Raises UserError if its header does not fit its length."""
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if not found:
        raise UserError(f"{folder / name}[.gz] does not exist; install dataset-fashion-mnist or set data.path.")
    path = found[0]
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            magic, *shape = struct.unpack(f">I{dimensions}I", stream.read(4 + 4 * dimensions))
            promised = math.prod(shape)
            # read at most what the header promises and such a data set may have: a small gzip may unpack to a huge file
            body = stream.read(min(promised, MOST_BYTES) + 1)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UserError(f"{describe_damage(path, 'IDX file', error)}.") from None
    if magic != 0x800 + dimensions or len(body) != promised:
        count = f"more than {promised}" if len(body) > promised else str(len(body))
        raise UserError(f"{path}: header {magic:#x} {shape} does not fit its {count} bytes of data.")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)
