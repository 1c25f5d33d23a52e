import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_sets import write_svhn
from scipy.io import savemat

import shards.datasets.svhn
import shards.records
from detaux.config import Config
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.build import build_shards
from shards.datasets.svhn import open_svhn
from shards.records import Source

MakeData = Callable[..., DataConfig]


def test_cropped_digits_give_their_pixels_digits_and_split(
    make_data: MakeData, read_images: Callable[[Source], np.ndarray], tmp_path: Path
) -> None:
    images, digits = write_svhn(tmp_path, train=23, test=12)
    source = open_svhn(make_data("svhn", f"data.path={tmp_path}", "data.side=32"))
    np.testing.assert_array_equal(read_images(source), images)
    np.testing.assert_array_equal(source.factor_values[:, 0], digits)
    assert source.published_split.tolist() == ["train"] * 23 + ["test"] * 12
    assert source.value_names["digit"] == list("0123456789")


def test_blocks_join_to_all_images_in_order(
    make_data: MakeData,
    read_images: Callable[[Source], np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, _ = write_svhn(tmp_path, train=23, test=12)
    monkeypatch.setattr(shards.records, "BLOCK_IMAGES", 10)
    source = open_svhn(make_data("svhn", f"data.path={tmp_path}", "data.side=32"))
    assert [len(records.images) for records in source.read()] == [10, 10, 3, 10, 2]
    np.testing.assert_array_equal(read_images(source), images)


def make_arrays(**changed: Any) -> dict[str, Any]:
    return {"X": np.zeros((32, 32, 3, 4), np.uint8), "y": np.full((4, 1), 10, np.uint8), **changed}


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (make_arrays(X=np.zeros((32, 32, 3, 4))), r"X is float64 \[32, 32, 3, 4\]; uint8 \[32, 32, 3, N\]"),
        (make_arrays(X=np.zeros((4, 32, 32, 3), np.uint8)), r"X is uint8 \[4, 32, 32, 3\]"),
        (make_arrays(y=np.full((5, 1), 1)), r"X has 4 images, but y is \[5\]"),
        (make_arrays(y=np.array([[1], [2], [0], [3]])), "labels other than 1 to 10"),
        (make_arrays(y=np.array([[1], [2], [11], [3]])), "labels other than 1 to 10"),
        (make_arrays(y=np.array([[1], [2], [np.nan], [3]])), "labels other than 1 to 10"),
        ({"digitStruct": np.zeros(3)}, "lacks the array X; it has digitStruct"),
    ],
)
def test_file_with_other_arrays_is_refused_by_name(
    make_data: MakeData, tmp_path: Path, arrays: dict[str, Any], sentence: str
) -> None:
    write_svhn(tmp_path, train=5, test=5)
    savemat(tmp_path / "test_32x32.mat", arrays)
    with pytest.raises(UserError, match=rf"test_32x32\.mat.*{sentence}"):
        open_svhn(make_data("svhn", f"data.path={tmp_path}"))


@pytest.mark.parametrize(
    ("published", "extra", "sentence"),
    [
        ((5, 7), 99, "7 training and 5 test images, but the published files have 5 and 7; the two are swapped"),
        ((9, 7), 99, "7 training images, as many as in the published test part"),
        ((5, 4), 99, "5 test images, as many as in the published training part"),
        ((7, 5), 7, r"train_32x32\.mat has 7 images: it is the published extra_32x32\.mat"),
    ],
)
def test_files_in_the_place_of_others_are_refused(
    make_data: MakeData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    published: tuple[int, int],
    extra: int,
    sentence: str,
) -> None:
    write_svhn(tmp_path, train=7, test=5)
    config = make_data("svhn", f"data.path={tmp_path}")
    assert open_svhn(config).count == 12
    monkeypatch.setattr(shards.datasets.svhn, "PUBLISHED", published)
    monkeypatch.setattr(shards.datasets.svhn, "EXTRA", extra)
    with pytest.raises(UserError, match=sentence):
        open_svhn(config)


def test_copy_of_the_other_part_is_refused(make_data: MakeData, tmp_path: Path) -> None:
    images, digits = write_svhn(tmp_path, train=5, test=5)
    config, test = make_data("svhn", f"data.path={tmp_path}"), tmp_path / "test_32x32.mat"
    assert open_svhn(config).count == 10  # equal labels with other images
    labels = np.where(digits[:5] == 0, 10, digits[:5])[::-1].astype(np.uint8)
    savemat(test, {"X": images[:5].transpose(1, 2, 3, 0), "y": labels[:, None]})
    assert open_svhn(config).count == 10  # equal images with other labels
    shutil.copy(tmp_path / "train_32x32.mat", test)
    with pytest.raises(UserError, match=r"test_32x32\.mat has the images and labels of train_32x32\.mat"):
        open_svhn(config)


def test_missing_file_is_named(make_data: MakeData, tmp_path: Path) -> None:
    write_svhn(tmp_path, train=5, test=5)
    (tmp_path / "test_32x32.mat").unlink()
    for path in (tmp_path, tmp_path / "train_32x32.mat"):
        with pytest.raises(UserError, match=r"_32x32\.mat does not exist; .*cropped digits"):
            open_svhn(make_data("svhn", f"data.path={path}"))
    with pytest.raises(UserError, match=r"needs data\.path, the folder of the published train_32x32\.mat"):
        open_svhn(make_data("svhn"))


def test_published_split_is_kept_by_the_builder(make_config: Callable[..., Config], tmp_path: Path) -> None:
    write_svhn(tmp_path / "files", train=100, test=30)
    keys = (f"data.path={tmp_path}/files", "data.split=published", "data.validation_fraction=0.2")
    manifest = build_shards(make_config("svhn", *keys), tmp_path / "set")
    assert [manifest.count(split) for split in ("train", "validation", "test")] == [80, 20, 30]
    assert (manifest.dataset, manifest.principal, manifest.classes) == ("svhn", "digit", list("0123456789"))
