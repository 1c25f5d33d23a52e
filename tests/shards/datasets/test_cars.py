import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_sets import annotate, write_cars, write_single_cars
from PIL import Image
from scipy.io import savemat

import shards.datasets.cars
from detaux.config import Config
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.build import build_shards
from shards.datasets.cars import open_cars
from shards.pictures import read_picture
from shards.records import Source

MakeData = Callable[..., DataConfig]
LABELS = "devkit/cars_test_annos_withlabels.mat"


@pytest.fixture
def cars(tmp_path: Path) -> Path:
    """Three classes with five training and two test pictures each."""
    return write_cars(tmp_path / "cars", classes=3, train=5, test=2, width=60, height=48)


def test_devkit_gives_pictures_classes_and_split(
    cars: Path, make_data: MakeData, read_images: Callable[[Source], np.ndarray]
) -> None:
    source = open_cars(make_data("cars", f"data.path={cars}", "data.side=24"))
    assert source.value_names["class"] == [f"Maker Model {number} Sedan 2012" for number in range(3)]
    assert source.factor_values[:, 0].tolist() == [0, 1, 2] * 7
    assert source.published_split.tolist() == ["train"] * 15 + ["test"] * 6
    assert source.keys[:2] == ["cars_train/00001.jpg", "cars_train/00002.jpg"]
    assert source.keys[-1] == "cars_test/00006.jpg"
    for key, image in zip(source.keys, read_images(source), strict=True):
        np.testing.assert_array_equal(image, read_picture(cars / key, 24))
    assert (source.quarantined, source.passed_over) == ([], [])


def test_labels_of_the_test_pictures_may_be_beside_the_devkit(cars: Path, make_data: MakeData) -> None:
    config = make_data("cars", f"data.path={cars}")
    (cars / LABELS).rename(cars / Path(LABELS).name)
    assert open_cars(config).count == 21
    (cars / Path(LABELS).name).rename(cars / "devkit" / "cars_test_annos.mat")
    with pytest.raises(
        UserError, match=r"cars_test_annos_withlabels\.mat does not exist; the authors publish the labels"
    ):
        open_cars(config)


def test_single_file_of_annotations_gives_the_same_kind_of_set(tmp_path: Path, make_data: MakeData) -> None:
    root = write_single_cars(tmp_path / "cars", classes=3, train=5, test=3)
    source = open_cars(make_data("cars", f"data.path={root}"))
    assert source.published_split.tolist() == ["train"] * 15 + ["test"] * 9
    assert source.factor_values[:, 0].tolist() == [0, 1, 2] * 8
    assert source.keys[0] == "car_ims/000010.jpg"
    assert source.keys[-1] == "car_ims/000009.jpg"
    assert source.value_names["class"] == ["Car 0", "Car 1", "Car 2"]


def test_single_file_without_its_folder_does_not_hide_the_devkit(cars: Path, make_data: MakeData) -> None:
    config = make_data("cars", f"data.path={cars}")
    alone = open_cars(config)
    other = write_single_cars(cars / "other", classes=2, train=2, test=2)
    (other / "cars_annos.mat").rename(cars / "cars_annos.mat")
    assert open_cars(config).keys == alone.keys
    (other / "car_ims").rename(cars / "car_ims")
    assert open_cars(config).keys[0] == "car_ims/000005.jpg"


def test_single_file_with_neither_its_folder_nor_a_devkit_is_refused(cars: Path, make_data: MakeData) -> None:
    shutil.rmtree(cars / "devkit")
    other = write_single_cars(cars / "other", classes=2, train=2, test=2)
    (other / "cars_annos.mat").rename(cars / "cars_annos.mat")
    with pytest.raises(UserError, match=r"holds cars_annos\.mat, but not its folder car_ims; it must be the folder"):
        open_cars(make_data("cars", f"data.path={cars}"))


@pytest.mark.parametrize("folder", ["cars_train", "cars_test", "car_ims"])
def test_pictures_one_folder_deeper_are_named(cars: Path, make_data: MakeData, folder: str) -> None:
    root = write_single_cars(cars / "single", classes=2, train=2, test=2) if folder == "car_ims" else cars
    (root / folder).rename(root / "kept")
    (root / folder).mkdir()
    (root / "kept").rename(root / folder / folder)
    with pytest.raises(
        UserError, match=rf"pictures of {folder} are one folder deeper, in {folder}/{folder}; move them"
    ):
        open_cars(make_data("cars", f"data.path={root}", "data.max_bad_fraction=1"))


def test_missing_and_damaged_pictures_are_left_out_by_name(cars: Path, make_data: MakeData, tmp_path: Path) -> None:
    (cars / "cars_train" / "00002.jpg").unlink()
    (cars / "cars_test" / "00003.jpg").write_bytes(b"\xff\xd8\xff no picture")
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    (cars / "cars_train" / "00007.jpg").unlink()
    (cars / "cars_train" / "00007.jpg").symlink_to(tmp_path / "outside.png")
    (cars / "cars_train" / "notes.txt").write_text("not annotated")
    source = open_cars(make_data("cars", f"data.path={cars}", "data.max_bad_fraction=0.2"))
    assert source.count == 18
    reasons = {entry["file"]: entry["reason"] for entry in source.quarantined}
    assert reasons.keys() == {"cars_train/00002.jpg", "cars_train/00007.jpg", "cars_test/00003.jpg"}
    assert reasons["cars_train/00002.jpg"] == "annotated, but missing"
    assert reasons["cars_train/00007.jpg"] == "a link that leads out of data.path"
    assert source.passed_over == ["cars_train/notes.txt"]
    assert source.factor_values[:, 0].tolist() == [0, 2, 0, 1, 2, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 2]
    with pytest.raises(
        UserError, match=r"3 of 21 samples are unusable.*cars_train/00002\.jpg \(annotated, but missing\)"
    ):
        open_cars(make_data("cars", f"data.path={cars}"))


@pytest.mark.parametrize("fault", ["folders", "annotations"])
def test_swapped_parts_are_refused(cars: Path, make_data: MakeData, fault: str) -> None:
    one, other = ("cars_train", "cars_test") if fault == "folders" else ("devkit/cars_train_annos.mat", LABELS)
    (cars / one).rename(cars / "kept")
    (cars / other).rename(cars / one)
    (cars / "kept").rename(cars / other)
    with pytest.raises(UserError, match="the folders or their annotations are swapped"):
        open_cars(make_data("cars", f"data.path={cars}", "data.max_bad_fraction=1"))


@pytest.mark.parametrize(
    ("published", "sentence"),
    [
        ((6, 15), "15 training and 6 test images.*the two are swapped"),
        ((20, 15), "15 training images, as many as in the published test part"),
        ((6, 4), "6 test images, as many as in the published training part"),
    ],
)
def test_count_of_the_other_published_part_is_refused(
    cars: Path, make_data: MakeData, monkeypatch: pytest.MonkeyPatch, published: tuple[int, int], sentence: str
) -> None:
    monkeypatch.setattr(shards.datasets.cars, "PUBLISHED", published)
    with pytest.raises(UserError, match=sentence):
        open_cars(make_data("cars", f"data.path={cars}"))


def test_copy_of_the_training_annotations_is_refused(tmp_path: Path, make_data: MakeData) -> None:
    root = write_cars(tmp_path / "cars", classes=2, train=3, test=3, width=60, height=48)
    config = make_data("cars", f"data.path={root}")
    with pytest.raises(UserError, match=r"withlabels\.mat has the same annotations as .*cars_train_annos\.mat"):
        open_cars(config)
    entries = [entry(fname=f"{number:05d}.jpg", **{"class": np.uint8(1 + number % 2)}) for number in range(1, 7)]
    savemat(root / LABELS, {"annotations": annotate(entries)})
    assert open_cars(config).count == 12


@pytest.mark.parametrize("written", ["car_ims/000001.jpg", "car_ims//000001.jpg", "car_ims/./000001.jpg"])
def test_picture_in_both_splits_is_refused(tmp_path: Path, make_data: MakeData, written: str) -> None:
    root = write_single_cars(tmp_path / "cars", classes=2, train=1, test=1)
    names = ["car_ims/000001.jpg", "car_ims/000002.jpg", written]
    entries = [
        {"relative_im_path": name, "class": np.uint8(1), "test": np.uint8(number == 2)}
        for number, name in enumerate(names)
    ]
    classes = np.array([["one", "two"]], dtype=object)
    savemat(root / "cars_annos.mat", {"annotations": annotate(entries), "class_names": classes})
    with pytest.raises(UserError, match=r"car_ims/000001\.jpg is annotated 2 times; once is allowed"):
        open_cars(make_data("cars", f"data.path={root}"))


def entry(**changed: Any) -> dict[str, Any]:
    return {"class": np.uint8(1), "fname": "00001.jpg", **changed}


@pytest.mark.parametrize(
    ("annotations", "sentence"),
    [
        (annotate([entry(**{"class": np.uint8(4)})]), r"has the class \[\[4\]\]; 1 to 3 are allowed"),
        (annotate([entry(**{"class": np.uint8(0)})]), r"has the class \[\[0\]\]; 1 to 3 are allowed"),
        (annotate([entry(**{"class": 1.5})]), r"has the class \[\[1\.5\]\]"),
        (annotate([entry(**{"class": "BMW"})]), "has the class BMW"),
        (annotate([{"fname": "00001.jpg"}]), "its annotations lack class; they have fname"),
        (np.zeros((2, 2)), "annotations is no structure"),
    ],
)
def test_wrong_annotations_are_refused_by_name(
    cars: Path, make_data: MakeData, annotations: np.ndarray, sentence: str
) -> None:
    savemat(cars / LABELS, {"annotations": annotations})
    with pytest.raises(UserError, match=rf"cars_test_annos_withlabels\.mat.*{sentence}"):
        open_cars(make_data("cars", f"data.path={cars}"))


@pytest.mark.parametrize("names", [["one"], ["one", "one", "two"], [1.0, 2.0, 3.0]])
def test_wrong_names_of_classes_are_refused(cars: Path, make_data: MakeData, names: list[Any]) -> None:
    savemat(cars / "devkit" / "cars_meta.mat", {"class_names": np.array(names, dtype=object)[None]})
    with pytest.raises(UserError, match=r"cars_meta\.mat: class_names"):
        open_cars(make_data("cars", f"data.path={cars}"))


@pytest.mark.parametrize(
    "name", ["../devkit/cars_meta.mat", "../../secret.png", "/etc/passwd", "", ".", "a\x1bb.jpg", "é" * 126 + ".jpg"]
)
def test_annotated_name_that_leaves_its_folder_is_not_read(cars: Path, make_data: MakeData, name: str) -> None:
    entries = [entry(fname=f"{number:05d}.jpg") for number in range(1, 7)]
    savemat(cars / LABELS, {"annotations": annotate([*entries, entry(fname=name)])})
    source = open_cars(make_data("cars", f"data.path={cars}", "data.max_bad_fraction=0.5"))
    assert source.count == 21
    (left_out,) = source.quarantined
    assert left_out["file"].isprintable()
    assert source.passed_over == []
    assert left_out["reason"] in (
        "an annotation whose file name leaves its folder",
        "an annotation whose file name has more than 255 bytes",
        "annotated, but missing",
    )


def test_linked_folder_out_of_data_path_is_not_listed(cars: Path, make_data: MakeData, tmp_path: Path) -> None:
    (cars / "cars_test").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "secret.png").write_bytes(b"")
    (cars / "cars_test").symlink_to(tmp_path / "elsewhere")
    source = open_cars(make_data("cars", f"data.path={cars}", "data.max_bad_fraction=0.5"))
    assert (source.count, len(source.quarantined), source.passed_over) == (15, 6, [])


@pytest.mark.parametrize("name", ["/secret.png", "//secret.png", "../secret.png", "{tmp}/secret.png", "a/b/secret.png"])
def test_annotated_path_outside_is_not_read(tmp_path: Path, make_data: MakeData, name: str) -> None:
    root = write_single_cars(tmp_path / "cars", classes=2, train=2, test=2)
    (root / "a" / "b").mkdir(parents=True)
    for place in (tmp_path, root / "a" / "b"):
        Image.new("RGB", (9, 9)).save(place / "secret.png")
    entries = [
        {
            "relative_im_path": f"car_ims/{number:06d}.jpg",
            "class": np.uint8(1 + number % 2),
            "test": np.uint8(number > 4),
        }
        for number in range(1, 9)
    ]
    entries.append({**entries[0], "relative_im_path": name.format(tmp=tmp_path)})
    names = np.array([["one", "two"]], dtype=object)
    savemat(root / "cars_annos.mat", {"annotations": annotate(entries), "class_names": names})
    source = open_cars(make_data("cars", f"data.path={root}", "data.max_bad_fraction=0.5"))
    assert source.count == 8
    assert [one["reason"] for one in source.quarantined] == ["an annotation whose file name leaves its folder"]


def test_name_of_a_folder_that_is_too_long_is_left_out(tmp_path: Path, make_data: MakeData) -> None:
    root = write_single_cars(tmp_path / "cars", classes=2, train=2, test=2)
    names = [*(f"car_ims/{number:06d}.jpg" for number in range(1, 9)), "x" * 256 + "/1.jpg", "x" * 255 + "/1.jpg"]
    entries = [{"relative_im_path": name, "class": np.uint8(1), "test": np.uint8(0)} for name in names]
    classes = np.array([["one", "two"]], dtype=object)
    savemat(root / "cars_annos.mat", {"annotations": annotate(entries), "class_names": classes})
    source = open_cars(make_data("cars", f"data.path={root}", "data.max_bad_fraction=0.5"))
    assert source.count == 8
    assert [one["reason"] for one in source.quarantined] == [
        "an annotation whose file name has more than 255 bytes",
        "annotated, but missing",
    ]


@pytest.mark.parametrize(
    ("removed", "sentence"),
    [
        ("devkit", r"holds neither devkit/cars_meta\.mat nor cars_annos\.mat"),
        ("devkit/cars_train_annos.mat", r"cars_train_annos\.mat does not exist"),
        ("cars_test", r"6 of 21 samples are unusable"),
    ],
)
def test_missing_part_is_named(cars: Path, make_data: MakeData, removed: str, sentence: str) -> None:
    shutil.rmtree(cars / removed) if (cars / removed).is_dir() else (cars / removed).unlink()
    with pytest.raises(UserError, match=sentence):
        open_cars(make_data("cars", f"data.path={cars}"))


def test_archive_is_to_be_unpacked(tmp_path: Path, make_data: MakeData) -> None:
    (tmp_path / "cars_train.tgz").write_bytes(b"")
    with pytest.raises(UserError, match="is not a folder; unpack the archives"):
        open_cars(make_data("cars", f"data.path={tmp_path}/cars_train.tgz"))


def test_published_split_is_kept_by_the_builder(cars: Path, make_config: Callable[..., Config], tmp_path: Path) -> None:
    keys = (f"data.path={cars}", "data.split=published", "data.validation_fraction=0.2")
    manifest = build_shards(make_config("cars", *keys), tmp_path / "set")
    assert [manifest.count(split) for split in ("train", "validation", "test")] == [12, 3, 6]
    assert (manifest.dataset, manifest.principal, manifest.factors) == ("cars", "class", {})
