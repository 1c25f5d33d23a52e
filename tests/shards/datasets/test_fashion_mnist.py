import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detaux.config import Config
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.build import build_shards
from shards.datasets.fashion_mnist import CLASSES, open_fashion_mnist
from shards.records import Source

MakeData = Callable[..., DataConfig]


def write_idx(path: Path, array: np.ndarray, magic: int | None = None) -> None:
    header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim if magic is None else magic, *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_dataset(folder: Path, suffix: str) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (30, 28, 28)), np.arange(30) % 10
    for name, part in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
        write_idx(folder / f"{name}-images-idx3-ubyte{suffix}", images[part])
        write_idx(folder / f"{name}-labels-idx1-ubyte{suffix}", labels[part])
    return images, labels


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_give_their_pixels_labels_and_split(
    make_data: MakeData, read_images: Callable[[Source], np.ndarray], tmp_path: Path, suffix: str
) -> None:
    images, labels = write_dataset(tmp_path, suffix)
    source = open_fashion_mnist(make_data("fashion_mnist", f"data.path={tmp_path}", "data.side=28"))
    np.testing.assert_array_equal(read_images(source), np.repeat(images[..., None], 3, -1))
    np.testing.assert_array_equal(source.factor_values[:, 0], labels)
    assert source.published_split.tolist() == ["train"] * 20 + ["test"] * 10
    assert source.value_names["class"] == CLASSES
    assert len(CLASSES) == 10


def test_malformed_idx_is_refused_by_name(make_data: MakeData, tmp_path: Path) -> None:
    config = make_data("fashion_mnist", f"data.path={tmp_path}")
    labels = tmp_path / "train-labels-idx1-ubyte"
    images = tmp_path / "train-images-idx3-ubyte.gz"

    def check(path: Path) -> None:
        with pytest.raises(UserError, match=path.name):
            open_fashion_mnist(config)

    check(tmp_path / "train-images-idx3-ubyte")  # absent
    write_dataset(tmp_path, "")
    (tmp_path / "train-images-idx3-ubyte").unlink()
    images.write_bytes(b"no gzip")
    check(images)
    images.write_bytes(gzip.compress(bytes(5000))[:-20])
    check(images)
    images.unlink()
    write_dataset(tmp_path, "")
    write_idx(labels, np.zeros(20), magic=0x803)
    check(labels)
    write_idx(labels, np.zeros(20))
    labels.write_bytes(labels.read_bytes()[:-1])
    check(labels)
    labels.write_bytes(b"\0\0")
    check(labels)


def test_files_that_disagree_are_refused(make_data: MakeData, tmp_path: Path) -> None:
    config = make_data("fashion_mnist", f"data.path={tmp_path}")
    write_dataset(tmp_path, "")
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(19))
    with pytest.raises(UserError, match="19 labels"):
        open_fashion_mnist(config)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.full(20, 10))
    with pytest.raises(UserError, match="label 10"):
        open_fashion_mnist(config)


def test_published_split_is_kept_by_the_builder(make_config: Callable[..., Config], tmp_path: Path) -> None:
    write_dataset(tmp_path, ".gz")
    overrides = [f"data.path={tmp_path}", "data.split=published", "data.validation_fraction=0.2"]
    manifest = build_shards(make_config("fashion_mnist", *overrides), tmp_path / "set")
    assert (manifest.count("train"), manifest.count("validation"), manifest.count("test")) == (10, 10, 10)
    assert manifest.factors == {}


def test_coarse_grouping_leaves_the_class_as_a_known_factor(make_config: Callable[..., Config], tmp_path: Path) -> None:
    write_dataset(tmp_path, ".gz")
    mapping = "{shoes: [sandal, sneaker, ankle boot], rest: [0, 1, 2, 3, 4, 6, 8]}"
    overrides = [f"data.path={tmp_path}", f"data.principal={mapping}"]
    manifest = build_shards(make_config("fashion_mnist", *overrides), tmp_path / "set")
    assert manifest.classes == ["shoes", "rest"]
    assert manifest.factors == {"class": 10}
