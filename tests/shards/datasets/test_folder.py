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
from shards.datasets.folder import open_folder, read_picture
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


def make_modes() -> dict[str, Image.Image]:
    """One reddish picture of 40 x 30 in many modes, each with the red channel's mean it should have."""
    red = Image.new("RGB", (40, 30), (200, 40, 40))
    return {
        "rgb.jpg": red,
        "palette.png": red.quantize(8),
        "palette.gif": red.quantize(8),
        "cmyk.jpg": red.convert("CMYK"),
        "cmyk.tif": red.convert("CMYK"),
        "alpha.png": red.convert("RGBA"),
        "alpha.webp": red.convert("RGBA"),
        "plain.bmp": red,
        "ycbcr.tif": red.convert("YCbCr"),
    }


@pytest.mark.parametrize("name", list(make_modes()))
def test_colour_mode_keeps_its_colour(tmp_path: Path, name: str) -> None:
    # Pillow below 13 reads no YCbCr from a TIFF that is not compressed
    make_modes()[name].save(tmp_path / name, **({"compression": "tiff_lzw"} if name.endswith(".tif") else {}))
    picture = read_picture(tmp_path / name, 16)
    assert picture.shape == (16, 16, 3)
    np.testing.assert_allclose(picture.mean((0, 1)), (200, 40, 40), atol=12)


@pytest.mark.parametrize("name", ["grey.png", "bits.png", "grey_alpha.png", "deep.png", "deep.tif", "float.tif"])
def test_grey_mode_keeps_its_brightness(tmp_path: Path, name: str) -> None:
    grey = Image.new("L", (40, 30), 100)
    pictures = {
        "grey.png": grey,
        "bits.png": Image.new("1", (40, 30), 1),
        "grey_alpha.png": grey.convert("LA"),
        "deep.png": Image.fromarray(np.full((30, 40), 100 * 257, np.uint16)),
        "deep.tif": Image.fromarray(np.full((30, 40), 100 * 257, np.uint16)),
        "float.tif": Image.fromarray(np.full((30, 40), 100 / 255, np.float32)),
    }
    pictures[name].save(tmp_path / name)
    expected = 255 if name == "bits.png" else 100
    np.testing.assert_allclose(read_picture(tmp_path / name, 16), expected, atol=1)


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    palette = Image.new("P", (20, 20), 0)
    palette.putpalette([0, 0, 0] * 256)
    palette.save(tmp_path / "clear.gif", transparency=0)
    assert (read_picture(tmp_path / "clear.png", 16) == 255).all()
    assert (read_picture(tmp_path / "clear.gif", 16) == 255).all()


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    picture = read_picture(tmp_path / "turned.jpg", 32)
    assert picture[:, 20:].mean() > 240
    assert picture[:, :12].mean() < 15


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:], duration=50)
    np.testing.assert_allclose(read_picture(tmp_path / "moving.gif", 16).mean((0, 1)), (255, 0, 0), atol=5)


def test_wide_picture_is_cropped_at_its_centre(tmp_path: Path) -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert read_picture(tmp_path / "wide.png", 16)[:, 2:-2].min() > 200


def test_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (2**13, 2**13 + 1)).save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match="pixels exceed"):
        read_picture(tmp_path / "huge.png", 16)


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


def test_postscript_is_quarantined_since_it_would_run_a_program(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "picture.eps")
    with pytest.raises(ValueError, match="EPS"):
        read_picture(tmp_path / "picture.eps", 16)


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
        "cats/gone.png": "a link to nothing",
        "cats/inside": "a link to a folder",
        "cats/link.png": "a link that leads out of data.path",
        "cats/loop.png": "a link to nothing",
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


def test_names_that_are_no_utf8_are_shown_with_a_mark(make_data: MakeData, write_pictures: WritePictures) -> None:
    root = write_pictures(dogs=30, cats=30)
    picture = next((root / "dogs").iterdir())
    os.rename(os.fsencode(picture), os.fsencode(root / "dogs") + b"/na\xffme.png")
    (root / "cats" / os.fsdecode(b"\xfe.png")).write_text("broken")
    source = open_folder(make_data("folder", f"data.path={root}", "data.max_bad_fraction=0.1"))
    (broken,) = source.quarantined
    assert broken["file"] == "cats/\ufffd.png"
    assert "dogs/na\ufffdme.png" in source.keys
    for text in (*source.keys, *broken.values()):
        text.encode()
