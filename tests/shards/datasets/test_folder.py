import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detaux.config import Config
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.build import build_shards
from shards.datasets.folder import open_folder
from shards.records import Source
from shards.verify import verify_shards

MakeData = Callable[..., DataConfig]
WritePictures = Callable[..., Path]


def test_class_folders_give_classes_and_keys_by_path(
    make_data: MakeData, write_pictures: WritePictures, read_images: Callable[[Source], np.ndarray]
) -> None:
    root = write_pictures(dogs=3, cats=2)
    source = open_folder(make_data("folder", f"data.path={root}"))
    assert source.value_names["class"] == ["cats", "dogs"]
    assert source.factor_values[:, 0].tolist() == [0, 0, 1, 1, 1]
    assert source.keys == ["cats/000.png", "cats/001.png", "dogs/000.png", "dogs/001.png", "dogs/002.png"]
    assert read_images(source).shape == (5, 16, 16, 3)


def test_two_broken_pictures_of_three_hundred_are_quarantined_by_name(
    make_data: MakeData, write_pictures: WritePictures
) -> None:
    root = write_pictures(cats=150, dogs=148)
    (root / "cats" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    whole = (root / "dogs" / "000.png").read_bytes()
    (root / "dogs" / "half.png").write_bytes(whole[: len(whole) // 2])
    source = open_folder(make_data("folder", f"data.path={root}"))
    assert [entry["file"] for entry in source.quarantined] == ["cats/broken.jpg", "dogs/half.png"]
    assert all(entry["reason"] and str(root) not in entry["reason"] for entry in source.quarantined)
    assert source.count == 298


def test_too_many_broken_pictures_are_refused(make_data: MakeData, write_pictures: WritePictures) -> None:
    root = write_pictures(cats=10, dogs=10)
    (root / "cats" / "broken.png").write_bytes(b"")
    assert open_folder(make_data("folder", f"data.path={root}")).count == 20
    (root / "dogs" / "broken.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"2 of 22 .*max_bad_fraction=0\.01 .*cats/broken\.png"):
        open_folder(make_data("folder", f"data.path={root}"))
    assert open_folder(make_data("folder", f"data.path={root}", "data.max_bad_fraction=0.05")).count == 20


def test_links_out_of_the_folder_are_quarantined_by_name_and_not_followed(
    make_data: MakeData, write_pictures: WritePictures, tmp_path: Path
) -> None:
    root = write_pictures(cats=3, dogs=3)
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.new("RGB", (20, 20)).save(outside / "secret.png")
    (root / "birds").symlink_to(outside)
    (root / "cats" / "folder").symlink_to(outside)
    (root / "cats" / "gone.png").symlink_to(outside / "absent.png")
    (root / "cats" / "inside").symlink_to(root / "dogs")
    (root / "cats" / "link.png").symlink_to(outside / "secret.png")
    (root / "cats" / "loop.png").symlink_to("loop.png")
    (root / "dogs" / "000.png").rename(root / ".kept.png")
    (root / "dogs" / "000.png").symlink_to(root / ".kept.png")
    source = open_folder(make_data("folder", f"data.path={root}", "data.max_bad_fraction=1"))
    assert {entry["file"]: entry["reason"] for entry in source.quarantined} == {
        "birds": "a link that leads out of data.path",
        "cats/folder": "a link that leads out of data.path",
        "cats/gone.png": "a broken link",
        "cats/inside": "a link to a folder",
        "cats/link.png": "a link that leads out of data.path",
        "cats/loop.png": "a broken link",
    }
    assert source.count == 6
    assert source.value_names["class"] == ["cats", "dogs"]


def test_class_folders_that_are_all_links_out_are_refused_by_name(
    make_data: MakeData, write_pictures: WritePictures, tmp_path: Path
) -> None:
    outside = write_pictures(cats=3, dogs=3)
    (tmp_path / "links").mkdir()
    for name in ("cats", "dogs"):
        (tmp_path / "links" / name).symlink_to(outside / name)
    with pytest.raises(UserError, match=r"0 of its sub-folders .*cats is a link that leads out"):
        open_folder(make_data("folder", f"data.path={tmp_path / 'links'}"))


def test_hidden_files_are_passed_over_in_silence(
    make_data: MakeData, write_pictures: WritePictures, tmp_path: Path
) -> None:
    root = write_pictures(cats=3, dogs=3, **{".git": 2, "cats/.thumbnails": 2})
    (root / "cats" / ".DS_Store").write_bytes(b"")
    (root / ".link").symlink_to(tmp_path)
    source = open_folder(make_data("folder", f"data.path={root}"))
    assert (source.count, source.quarantined) == (6, [])


def test_pictures_in_unlabelled_or_in_no_sub_folder_have_no_label(
    make_data: MakeData, write_pictures: WritePictures
) -> None:
    root = write_pictures(cats=2, zebras=2, unlabelled=2)
    (root / "zebras" / "000.png").rename(root / "loose.PNG")
    (root / "README.txt").write_text("no picture")
    source = open_folder(make_data("folder", f"data.path={root}"))
    assert source.value_names["class"] == ["cats", "zebras"]
    assert dict(zip(source.keys, source.factor_values[:, 0].tolist(), strict=True)) == {
        "cats/000.png": 0, "cats/001.png": 0, "loose.PNG": -1,
        "unlabelled/000.png": -1, "unlabelled/001.png": -1, "zebras/001.png": 1,
    }  # fmt: skip
    assert source.quarantined == []


def test_set_with_unlabelled_pictures_keeps_them_for_training(
    make_config: Callable[..., Config],
    write_pictures: WritePictures,
    tmp_path: Path,
    read_samples: Callable[[Path], dict[str, Any]],
) -> None:
    root = write_pictures(cats=20, dogs=20, unlabelled=30)
    manifest = build_shards(make_config("folder", f"data.path={root}"), tmp_path / "set")
    assert verify_shards(tmp_path / "set") == []
    assert manifest.classes == ["cats", "dogs"]
    assert (manifest.count("train"), manifest.count("validation"), manifest.count("test")) == (56, 4, 10)
    samples = read_samples(tmp_path / "set")
    unlabelled = {key for key in samples if key.startswith("unlabelled/")}
    assert len(unlabelled) == 30
    assert {samples[key][:2] for key in unlabelled} == {("train", -1)}
    assert {samples[key][1] for key in samples.keys() - unlabelled} == {0, 1}


@pytest.mark.parametrize("closed", ["birds", "birds/small"])
def test_folder_that_may_not_be_read_is_refused_by_name(make_data: MakeData, closed: str) -> None:
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:  # not tmp_path, which nobody but its owner may enter
        root = Path(name)
        for path in ("cats/0.png", "dogs/0.png", "birds/0.png", "birds/small/0.png"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(root / path)
        root.chmod(0o755)
        (root / closed).chmod(0)
        try:
            if is_root:  # who may read everything
                os.seteuid(65534)
            with pytest.raises(UserError, match=f"no permission to read its folder {closed};"):
                open_folder(make_data("folder", f"data.path={root}"))
        finally:
            if is_root:
                os.seteuid(0)
            (root / closed).chmod(0o755)


def test_empty_sub_folder_is_no_class(make_data: MakeData, write_pictures: WritePictures) -> None:
    root = write_pictures(cats=3, dogs=3, a_new_folder=0)
    (root / "a_new_folder" / ".hidden").write_bytes(b"")
    source = open_folder(make_data("folder", f"data.path={root}"))
    assert source.value_names["class"] == ["cats", "dogs"]
    assert source.factor_values[:, 0].tolist() == [0, 0, 0, 1, 1, 1]


def test_folder_without_two_classes_is_refused(
    make_data: MakeData, write_pictures: WritePictures, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    root = write_pictures(cats=3)
    for path, message in (
        (root, "1 of its sub-folders"),
        (tmp_path / "empty", "0 of its sub-folders"),
        (tmp_path / "file", "not a folder"),
        (tmp_path / "absent", "not a folder"),
    ):
        with pytest.raises(UserError, match=message):
            open_folder(make_data("folder", f"data.path={path}"))
    with pytest.raises(UserError, match=r"data\.path"):
        open_folder(make_data("folder"))


def test_any_bytes_as_a_picture_are_quarantined_without_a_crash(
    make_data: MakeData, write_pictures: WritePictures, tmp_path: Path
) -> None:
    root = write_pictures(cats=3, dogs=3)
    draw = np.random.default_rng(0)
    seeds = {}
    for suffix in ("png", "gif", "tif", "webp", "bmp", "jpg"):
        Image.new("RGB", (20, 20), "red").save(tmp_path / f"seed.{suffix}")
        seeds[suffix] = np.frombuffer((tmp_path / f"seed.{suffix}").read_bytes(), np.uint8)
    for index in range(120):
        suffix = list(seeds)[index % len(seeds)]
        data = seeds[suffix].copy()
        data[draw.integers(0, len(data), 4)] = draw.integers(0, 256, 4)
        (root / "cats" / f"fuzz{index:03d}.{suffix}").write_bytes(data.tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = open_folder(make_data("folder", f"data.path={root}", "data.max_bad_fraction=1"))
    assert source.count + len(source.quarantined) == 126
    assert source.quarantined


def test_names_that_are_no_utf8_are_spelled_out(make_data: MakeData, write_pictures: WritePictures) -> None:
    root = write_pictures(dogs=30, cats=30)
    picture = next((root / "dogs").iterdir())
    os.rename(os.fsencode(picture), os.fsencode(root / "dogs") + b"/na\xffme.png")
    (root / "cats" / os.fsdecode(b"\xfe.png")).write_text("broken")
    source = open_folder(make_data("folder", f"data.path={root}", "data.max_bad_fraction=0.1"))
    (broken,) = source.quarantined
    assert broken["file"] == "cats/\\xfe.png"
    assert "dogs/na\\xffme.png" in source.keys
    for text in (*source.keys, *broken.values()):
        text.encode()


def test_class_folders_that_differ_in_bytes_alone_are_classes_of_their_own(
    make_data: MakeData, write_pictures: WritePictures
) -> None:
    root = write_pictures(a=2, b=3, c=4)
    for name, raw in (("a", b"d\xb9\xb7"), ("b", b"d\xc4\xf1"), ("c", b"d\\xb9\\xb7")):
        os.rename(root / name, os.fsencode(root) + b"/" + raw)
    source = open_folder(make_data("folder", f"data.path={root}"))
    classes = source.value_names["class"]
    assert len(set(classes)) == 3
    assert np.bincount(source.factor_values[:, 0]).tolist() == [
        {"2": 2, "3": 3, "4": 4}[one] for one in ("4", "2", "3")
    ]
    for name in classes:
        name.encode()


@pytest.mark.parametrize(
    ("one", "other"), [("Cats", "cats"), ("caf\u00e9", "cafe\u0301"), ("a b", "a  b"), ("\uff41", "a")]
)
def test_class_folders_that_look_alike_are_said(
    make_data: MakeData, write_pictures: WritePictures, capsys: pytest.CaptureFixture[str], one: str, other: str
) -> None:
    root = write_pictures(**{one: 2, other: 2, "dogs": 2})
    source = open_folder(make_data("folder", f"data.path={root}"))
    assert len(source.value_names["class"]) == 3
    printed = capsys.readouterr().out
    assert "look alike; each is a class of its own" in printed
    assert "dogs" not in printed


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "validation"), ("train", "TEST", "unlabelled")]
)
def test_sub_folders_that_are_parts_of_a_split_are_no_classes(
    make_data: MakeData, write_pictures: WritePictures, names: tuple[str, ...]
) -> None:
    root = write_pictures(**{f"{name}/{label}": 3 for name in names for label in ("cats", "dogs")})
    with pytest.raises(
        UserError, match=rf"look like the parts of a split.*data\.split=published.*{names[0]} to use only one"
    ):
        open_folder(make_data("folder", f"data.path={root}"))
    source = open_folder(make_data("folder", f"data.path={root}", "data.split=published"))
    assert source.value_names["class"] == ["cats", "dogs"]
    assert source.published_split is not None
    assert len(set(source.published_split)) == len(set(names) - {"unlabelled"})


def test_published_split_of_folders_is_that_of_the_set(
    make_config: Callable[..., Config],
    write_pictures: WritePictures,
    tmp_path: Path,
    read_samples: Callable[[Path], dict[str, Any]],
) -> None:
    parts = {"train/cats": 9, "train/dogs": 9, "val/cats": 4, "val/dogs": 3, "test/cats": 5, "test/dogs": 6}
    root = write_pictures(**parts)
    (root / "train" / "cats" / "000.png").rename(root / "loose.png")
    manifest = build_shards(make_config("folder", f"data.path={root}", "data.split=published"), tmp_path / "set")
    assert [manifest.count(split) for split in ("train", "validation", "test")] == [18, 7, 11]
    for key, (split, label, *_) in read_samples(tmp_path / "set").items():
        folder = key.partition("/")[0]
        assert split == {"val": "validation", "loose_png": "train"}.get(folder, folder)
        assert label == (-1 if key == "loose_png" else int("dogs" in key))


def test_picture_in_no_class_folder_of_a_test_split_is_refused_by_name(
    make_data: MakeData, write_pictures: WritePictures
) -> None:
    root = write_pictures(**{"train/cats": 3, "train/dogs": 3, "test": 3})
    with pytest.raises(UserError, match=r"test/000\.png is in no class folder of test"):
        open_folder(make_data("folder", f"data.path={root}", "data.split=published"))


def test_folder_that_is_called_train_among_others_is_a_class(
    make_data: MakeData, write_pictures: WritePictures
) -> None:
    root = write_pictures(train=3, car=3, test=3)
    assert open_folder(make_data("folder", f"data.path={root}")).value_names["class"] == ["car", "test", "train"]


@pytest.mark.parametrize("split", ["random", "published"])
@pytest.mark.parametrize("names", [("train", "val", "test", "extra"), ("Training", "dev", "extra", "unlabelled")])
def test_folder_beside_the_parts_of_a_split_is_refused(
    make_data: MakeData, write_pictures: WritePictures, names: tuple[str, ...], split: str
) -> None:
    root = write_pictures(**{f"{name}/{label}": 2 for name in names for label in ("cats", "dogs")})
    message = rf"look like the parts of a split, but not extra;.*data\.split=published.*{names[0]} to use only one part"
    with pytest.raises(UserError, match=message):
        open_folder(make_data("folder", f"data.path={root}", f"data.split={split}"))
    next((root / names[1] / "cats").iterdir()).rename(root / names[1] / "loose.png")  # then it may be a class
    assert "extra" in open_folder(make_data("folder", f"data.path={root}")).value_names["class"]


@pytest.mark.parametrize("name", ["unlabeled", "Unlabelled", "UNLABELED"])
def test_folder_of_pictures_without_a_label_may_be_spelled_either_way(
    make_data: MakeData, write_pictures: WritePictures, name: str
) -> None:
    root = write_pictures(**{"cats": 2, "dogs": 2, name: 3})
    source = open_folder(make_data("folder", f"data.path={root}"))
    assert source.value_names["class"] == ["cats", "dogs"]
    assert (source.factor_values[:, 0] < 0).sum() == 3


def test_files_that_are_no_pictures_by_name_are_passed_over_and_listed(
    make_data: MakeData, write_pictures: WritePictures
) -> None:
    root = write_pictures(cats=10, dogs=10)
    for name in ("cats/notes.txt", "cats/Thumbs.db", "dogs/desktop.ini", "dogs/table.csv", "dogs/none"):
        (root / name).write_text("no picture")
    (root / "cats" / "005.png").rename(root / "cats" / "005")  # a picture whatever its name
    (root / "cats" / "006.png").rename(root / "cats" / "006.txt")
    source = open_folder(make_data("folder", f"data.path={root}"))
    assert (source.count, source.quarantined) == (20, [])
    assert source.passed_over == [
        "cats/Thumbs.db", "cats/notes.txt", "dogs/desktop.ini", "dogs/none", "dogs/table.csv"
    ]  # fmt: skip
    assert {"cats/005", "cats/006.txt"} <= set(source.keys)


@pytest.mark.parametrize("suffix", ["heic", "HEIF", "jxl", "cr2", "eps", "pdf", "xpm"])
def test_pictures_of_a_format_that_is_not_read_are_bad_ones_by_name(
    make_data: MakeData, write_pictures: WritePictures, suffix: str
) -> None:
    root = write_pictures(cats=10, dogs=10)
    for number in range(2):
        (root / "cats" / f"phone{number}.{suffix}").write_bytes(b"\0\0\0\x18ftypheic" + bytes(200))
    (root / "dogs" / "005.png").rename(root / "dogs" / f"005.{suffix}")  # a PNG whatever its name
    with pytest.raises(UserError, match=rf"2 of 22 .*cats/phone0\.{suffix} \({suffix.upper()} is not read; convert it"):
        open_folder(make_data("folder", f"data.path={root}"))
    source = open_folder(make_data("folder", f"data.path={root}", "data.max_bad_fraction=0.1"))
    assert (source.count, source.passed_over) == (20, [])
    assert [entry["file"] for entry in source.quarantined] == [f"cats/phone{number}.{suffix}" for number in range(2)]


def test_pictures_of_32_bits_have_one_scale_which_is_said(
    make_data: MakeData,
    write_pictures: WritePictures,
    read_images: Callable[[Source], np.ndarray],
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = write_pictures(cats=2, dogs=2)
    for name, grey in (("cats/dark.tif", 0.5), ("dogs/bright.tif", 200.0)):
        Image.fromarray(np.full((8, 8), grey, np.float32)).save(root / name)
    Image.fromarray(np.full((8, 8), np.inf, np.float32)).save(root / "cats" / "endless.tif")
    source = open_folder(make_data("folder", f"data.path={root}"))
    assert "pictures of 32-bit real numbers are read with 0 as black and 255 as white" in capsys.readouterr().out
    assert [entry["file"] for entry in source.quarantined] == ["cats/endless.tif"]
    shades = dict(zip(source.keys, read_images(source).mean((1, 2, 3)), strict=True))
    assert shades["cats/dark.tif"] < 1
    np.testing.assert_allclose(shades["dogs/bright.tif"], 200, atol=1)


@pytest.mark.parametrize("change", ["removed", "broken", "another mode"])
def test_picture_that_changes_while_shards_are_built_is_named(
    make_data: MakeData, write_pictures: WritePictures, change: str
) -> None:
    root = write_pictures(cats=3, dogs=3)
    source = open_folder(make_data("folder", f"data.path={root}"))
    path = root / "dogs" / "001.png"
    path.unlink()
    if change == "broken":
        path.write_text("no picture")
    elif change == "another mode":
        Image.fromarray(np.ones((8, 8), np.float32)).save(path, "TIFF")
    with pytest.raises(
        UserError, match=r"dogs/001\.png was changed while the shards were built: .*; start the command again"
    ):
        list(source.read())
