import errno
import io
import itertools
import os
import resource
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import shards.pictures
from detaux.cli import run_command
from shards.pictures import (
    Inspection,
    choose_scales,
    inspect_picture,
    list_suffixes,
    list_unread_suffixes,
    read_picture,
)


def save(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path)
    return path


RAMP = np.linspace(0, 255, 400).reshape(20, 20)


@pytest.mark.parametrize(
    ("name", "values", "mode", "white"),
    [
        ("unit.tif", (RAMP / 255).astype(np.float32), "F", 1.0),
        ("bytes.tif", RAMP.astype(np.float32), "F", 255.0),
        ("wide.tif", (RAMP * 257).astype(np.float32), "F", 65535.0),
        ("whole.tif", RAMP.astype(np.int32), "I", 255.0),
        ("deep.tif", (RAMP * 257).astype(np.int32), "I", 65535.0),
    ],
)
def test_picture_of_32_bits_is_read_by_the_scale_that_its_set_has(
    tmp_path: Path, name: str, values: np.ndarray, mode: str, white: float
) -> None:
    path = save(tmp_path / name, values)
    found = inspect_picture(path)
    assert (found.fault, found.mode) == (None, mode)
    scales = choose_scales([found])
    assert scales == {mode: white}
    picture = read_picture(path, 20, full_scale=scales)
    np.testing.assert_allclose(picture[..., 0], RAMP, atol=1)


def test_scale_is_one_for_the_set_however_dark_a_picture_is() -> None:
    dark, bright, bad = Inspection(None, "F", 0.5), Inspection(None, "F", 200.0), Inspection("broken", "F", 1e9)
    assert choose_scales([dark, bright, bad, Inspection(None, "RGB", 0.0)]) == {"F": 255.0}
    assert choose_scales([]) == {}


@pytest.mark.parametrize(
    ("value", "fault"), [(np.inf, "not finite"), (np.nan, "not finite"), (-1.0, "from -1 to"), (1e6, "to 1e")]
)
def test_picture_whose_scale_nobody_knows_is_a_fault(tmp_path: Path, value: float, fault: str) -> None:
    values = RAMP.astype(np.float32)
    values[3, 3] = value
    found = inspect_picture(save(tmp_path / "odd.tif", values))
    assert fault in str(found.fault)


@pytest.mark.parametrize("inner", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n", None])
@pytest.mark.parametrize("name", ["holiday.jpg", "holiday.iim", "picture.png"])
def test_format_that_wraps_others_or_runs_a_program_is_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: bytes | None, name: str
) -> None:
    """An IPTC file that wraps EPS, for which Pillow would start Ghostscript, and EPS itself, whatever their names."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_: pytest.fail("Ghostscript was started"))
    eps = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(eps, "EPS")
    content = eps.getvalue() if inner is None else _wrap_as_iptc(inner + eps.getvalue())
    (tmp_path / name).write_bytes(content)
    fault = "IIM is not read" if name.endswith(".iim") else "cannot identify image file"
    assert fault in str(inspect_picture(tmp_path / name).fault)


def _wrap_as_iptc(content: bytes) -> bytes:
    def field(record: int, number: int, data: bytes) -> bytes:
        return bytes([0x1C, record, number]) + len(data).to_bytes(2, "big") + data

    head = field(3, 60, b"\x01\x00") + field(3, 20, b"\x00\x14") + field(3, 30, b"\x00\x14") + field(3, 120, b"\x01")
    return head + bytes([0x1C, 8, 10]) + len(content).to_bytes(2, "big") + content


def test_suffixes_are_those_of_formats_that_are_read() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".bmp", ".gif"} <= list_suffixes()
    assert not {".eps", ".ps", ".pdf", ".wmf", ".iim", ".txt", ".mpg"} & list_suffixes()
    assert {".heic", ".dng", ".eps", ".pdf", ".xpm", ".jxl"} <= list_unread_suffixes()
    assert not list_unread_suffixes() & (list_suffixes() | {".txt", ".db", ".ini", ".csv", ".json", ""})


def test_raw_file_of_a_camera_is_not_taken_for_the_thumbnail_in_it(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "thumbnail.nef", "TIFF")
    assert inspect_picture(tmp_path / "thumbnail.nef").fault == "NEF is not read; convert it to JPEG or PNG"


def test_picture_in_memory_is_the_picture_on_disk(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[:15] = 255
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    on_disk = read_picture(tmp_path / "turned.jpg", 16)
    in_memory = read_picture(io.BytesIO((tmp_path / "turned.jpg").read_bytes()), 16, ["JPEG"])
    np.testing.assert_array_equal(on_disk, in_memory)
    assert on_disk[:, 12:].mean() > 240
    assert on_disk[:, :4].mean() < 15


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


MACHINE_FAULTS = [
    *(
        OSError(number, os.strerror(number))
        for number in (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
    ),
    MemoryError(),
]


@pytest.mark.parametrize("fault", MACHINE_FAULTS, ids=str)
@pytest.mark.parametrize("source", ["folder", "webdataset"])
def test_fault_of_the_machine_is_no_bad_picture_and_ends_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str, fault: Exception
) -> None:
    """One picture of many, whose loss data.max_bad_fraction would allow."""
    for number in range(20):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
        path.with_suffix(".cls").write_text(str(number % 2))
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        tar.add(tmp_path / "photos", "photos")
    calls = itertools.count()

    def open_picture(*arguments: Any) -> Image.Image:
        if next(calls) == 7:
            raise fault
        return shards_open(*arguments)

    shards_open = shards.pictures.open_picture
    monkeypatch.setattr("shards.pictures.open_picture", open_picture)
    path = tmp_path / ("photos" if source == "folder" else "photos.tar")
    arguments = ["shards", "build", source, "--out", f"{tmp_path}/set", f"data.path={path}", "data.side=16"]
    assert run_command(arguments) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert str(path) in sentence
    assert ("not enough memory" if isinstance(fault, MemoryError) else os.strerror(fault.errno)) in sentence
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    "fault",
    [OSError("image file is truncated"), OSError(errno.EINVAL, "Invalid argument"), SyntaxError(), RecursionError()],
    ids=repr,
)
def test_fault_of_a_picture_is_told_and_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: Any) -> Image.Image:
        raise fault

    monkeypatch.setattr("shards.pictures.open_picture", fail)
    assert inspect_picture(tmp_path / "a.png").fault


def test_too_many_open_files_are_no_bad_picture(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            inspect_picture(path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert inspect_picture(path).fault is None
