import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detaux.config import Config
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.build import build_shards
from shards.datasets.folder import open_folder
from shards.datasets.webdataset import open_webdataset
from shards.records import Source

MakeData = Callable[..., DataConfig]


def encode(colour: str, suffix: str = "png") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(stream, {"jpg": "JPEG"}.get(suffix, suffix))
    return stream.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    folder = tmp_path / "tars"
    folder.mkdir()
    write_tar(
        folder / "part-0.tar",
        {"a.jpg": encode("red", "jpg"), "a.cls": b"7", "b.webp": encode("lime", "webp"), "b.json": b'{"label": 3}'},
    )
    write_tar(folder / "part-1.tar", {"x/a.PNG": encode("blue"), "x/a.cls": b"3\n", "x/a.txt": b"a caption"})
    return folder


@pytest.mark.parametrize("pattern", ["", "/*.tar", "/part-{0..1}.tar"])
def test_tars_give_images_labels_and_keys(
    make_data: MakeData, read_images: Callable[[Source], np.ndarray], tars: Path, pattern: str
) -> None:
    source = open_webdataset(make_data("webdataset", f"data.path={tars}{pattern}"))
    assert source.keys == ["part-0/a", "part-0/b", "part-1/x/a"]
    assert source.value_names["class"] == ["3", "7"]
    assert source.factor_values[:, 0].tolist() == [1, 0, 0]
    np.testing.assert_allclose(read_images(source).mean((1, 2)), [(255, 0, 0), (0, 255, 0), (0, 0, 255)], atol=8)


def test_sample_that_cannot_be_used_is_quarantined_by_member(make_data: MakeData, tars: Path) -> None:
    bad = {
        "noimage.cls": b"1",
        "badlabel.png": encode("red"),
        "badlabel.json": b'{"label": "cat"}',
        "text.png": encode("red"),
        "text.cls": b"a cat",
        "wrong.png": encode("red", "jpg"),
        "wrong.cls": b"1",
        "list.png": encode("red"),
        "list.json": json.dumps([1]).encode(),
    }
    write_tar(tars / "part-2.tar", bad)
    source = open_webdataset(make_data("webdataset", f"data.path={tars}", "data.max_bad_fraction=0.7"))
    assert source.count == 3
    assert [entry["file"] for entry in source.quarantined] == [
        f"part-2/{key}" for key in ("noimage", "badlabel", "text", "wrong", "list")
    ]
    with pytest.raises(UserError, match="5 of 8 samples"):
        open_webdataset(make_data("webdataset", f"data.path={tars}"))


def test_sample_without_cls_or_json_label_is_an_image_without_a_label(make_data: MakeData, tars: Path) -> None:
    members = {"a.png": encode("red"), "b.png": encode("red"), "b.json": b'{"caption": "red"}', "c.png": encode("red")}
    write_tar(tars / "part-2.tar", {**members, "c.cls": b"-1"})
    source = open_webdataset(make_data("webdataset", f"data.path={tars}"))
    assert source.quarantined == []
    assert source.value_names["class"] == ["3", "7"]
    assert source.factor_values[:, 0].tolist() == [1, 0, 0, -1, -1, -1]


def test_tar_that_is_cut_short_is_refused_by_name(make_data: MakeData, tars: Path) -> None:
    path = tars / "part-0.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UserError, match=r"part-0\.tar"):
        open_webdataset(make_data("webdataset", f"data.path={tars}", "data.max_bad_fraction=0.9"))


def test_path_without_tars_is_refused(make_data: MakeData, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.tar"):
        with pytest.raises(UserError, match="no tar"):
            open_webdataset(make_data("webdataset", f"data.path={path}"))
    with pytest.raises(UserError, match=r"data\.path"):
        open_webdataset(make_data("webdataset"))


def test_set_of_ours_without_some_labels_is_adopted_without_them(
    make_config: Callable[..., Config], make_data: MakeData, tmp_path: Path
) -> None:
    keys = ["data.layout=standard", "data.principal={odd: [1, 3, 5, 7, 9], even: [0, 2, 4, 6, 8]}"]
    build_shards(make_config("digits", *keys, "data.labelled_fraction=0.5"), tmp_path / "set")
    source = open_webdataset(make_data("webdataset", f"data.path={tmp_path}/set/train-*.tar"))
    assert source.value_names["class"] == ["0", "1"]
    counts = np.bincount(source.factor_values[:, 0] + 1)
    assert abs(counts[0] - counts[1:].sum()) < 3


@pytest.mark.parametrize("label", [b"-100", b"-2"])
def test_label_below_none_is_quarantined(make_data: MakeData, tars: Path, label: bytes) -> None:
    write_tar(tars / "part-2.tar", {"a.png": encode("red"), "a.cls": label})
    source = open_webdataset(make_data("webdataset", f"data.path={tars}"))
    assert source.quarantined == [
        {"file": "part-2/a", "reason": f"the label is {label.decode()}; 0 and more are classes, -1 is no label"}
    ]


def test_names_with_dots_are_said_to_have_them(make_data: MakeData, tmp_path: Path) -> None:
    members = {
        f"shot.{number}.{kind}": data for number in (1, 2) for kind, data in (("png", encode("red")), ("cls", b"1"))
    }
    write_tar(tmp_path / "dots.tar", members)
    with pytest.raises(UserError, match=r"'1\.png': in WebDataset, all that follows the first dot of a name"):
        open_webdataset(make_data("webdataset", f"data.path={tmp_path}/dots.tar"))


def test_member_that_stands_twice_is_its_samples_fault(make_data: MakeData, tars: Path) -> None:
    with tarfile.open(tars / "part-2.tar", "w") as tar:
        for name, data in (("a.png", encode("red")), ("a.cls", b"3"), ("a.cls", b"7")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    source = open_webdataset(make_data("webdataset", f"data.path={tars}"))
    assert source.quarantined == [{"file": "part-2/a", "reason": "its member cls occurs twice"}]


def test_label_that_is_a_link_to_nothing_is_said_to_be_that(make_data: MakeData, tars: Path) -> None:
    with tarfile.open(tars / "part-2.tar", "w") as tar:
        info = tarfile.TarInfo("a.cls")
        info.type, info.linkname = tarfile.LNKTYPE, "b.cls"
        tar.addfile(info)
    source = open_webdataset(make_data("webdataset", f"data.path={tars}"))
    (entry,) = source.quarantined
    assert entry["reason"] == "its member cls is a link to b.cls, which is no file that was read before it"


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.bz2", "w:bz2"), (".tar.xz", "w:xz")]
)
def test_compressed_tars_are_read_like_plain_ones(make_data: MakeData, tars: Path, suffix: str, mode: str) -> None:
    plain = open_webdataset(make_data("webdataset", f"data.path={tars}"))
    for path in list(tars.iterdir()):
        with tarfile.open(path) as tar, tarfile.open(path.with_name(path.stem + suffix), mode) as packed:
            for member in tar:
                packed.addfile(member, tar.extractfile(member))
        path.unlink()
    source = open_webdataset(make_data("webdataset", f"data.path={tars}"))
    assert (source.keys, source.quarantined) == (plain.keys, [])
    np.testing.assert_array_equal(source.factor_values, plain.factor_values)


@pytest.mark.parametrize("name", ["a{b.tar", "a[1].tar", "a{b,c}.tar", "{0..3}.tar", "photos #2.tar"])
def test_tar_whose_name_looks_like_a_pattern_is_that_file(make_data: MakeData, tars: Path, name: str) -> None:
    path = tars / "odd" / name
    path.parent.mkdir()
    write_tar(path, {"a.png": encode("red"), "a.cls": b"1", "b.png": encode("red"), "b.cls": b"2"})
    assert open_webdataset(make_data("webdataset", f"data.path={path}")).count == 2
    path.unlink()
    with pytest.raises(UserError, match="names no tar file|are not a valid pattern"):
        open_webdataset(make_data("webdataset", f"data.path={path}"))


def test_folder_of_tars_gives_what_it_passes_over_and_keys_without_a_suffix_in_capitals(
    make_data: MakeData, tars: Path
) -> None:
    (tars / "part-1.tar").rename(tars / "PART-1.TAR")
    (tars / "notes.txt").write_text("no tar")
    source = open_webdataset(make_data("webdataset", f"data.path={tars}"))
    assert source.keys == ["PART-1/x/a", "part-0/a", "part-0/b"]
    assert source.passed_over == ["notes.txt"]


def test_tars_of_one_name_in_two_folders_keep_their_keys_apart(make_data: MakeData, tmp_path: Path) -> None:
    for folder, label in (("a", b"1"), ("b", b"2")):
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder / "0.tar", {"x.png": encode("red"), "x.cls": label})
    source = open_webdataset(make_data("webdataset", f"data.path={tmp_path}/{{a,b}}/*.tar"))
    assert source.keys == ["a/0/x", "b/0/x"]


def test_picture_in_a_tar_gives_the_pixels_that_it_gives_in_a_folder(
    make_data: MakeData, read_images: Callable[[Source], np.ndarray], tmp_path: Path
) -> None:
    """Turned by its EXIF data, and neither square nor of the wanted size."""
    exif = Image.Exif()
    exif[0x0112] = 8
    members: dict[str, bytes] = {}
    for label, folder in enumerate(("cats", "dogs")):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for number, suffix in enumerate(("png", "jpg", "webp")):
            pixels = np.random.default_rng(3 * label + number).integers(0, 256, (40, 70, 3), np.uint8)
            path = tmp_path / "photos" / folder / f"{number}.{suffix}"
            Image.fromarray(pixels).save(path, exif=exif)
            members |= {f"{folder}/{number}.{suffix}": path.read_bytes(), f"{folder}/{number}.cls": str(label).encode()}
    write_tar(tmp_path / "photos.tar", members)
    from_tar = open_webdataset(make_data("webdataset", f"data.path={tmp_path}/photos.tar"))
    from_folder = open_folder(make_data("folder", f"data.path={tmp_path}/photos"))
    np.testing.assert_array_equal(read_images(from_tar), read_images(from_folder))


def test_tar_that_changes_while_shards_are_built_is_refused(make_data: MakeData, tars: Path) -> None:
    source = open_webdataset(make_data("webdataset", f"data.path={tars}"))
    (tars / "part-1.tar").unlink()
    with pytest.raises(UserError, match=r"part-1\.tar cannot be opened: No such file"):
        list(source.read())


@pytest.mark.parametrize(
    "content", [b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b"", b"\x1f\x8bno gzip"]
)
def test_file_that_is_no_tar_is_said_to_be_what_it_is(make_data: MakeData, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    fault = "Git LFS pointer" if content.startswith(b"version") else "is no compressed tar" if content else "is empty"
    with pytest.raises(UserError, match=fault):
        open_webdataset(make_data("webdataset", f"data.path={tmp_path}/a.tar"))


@pytest.mark.parametrize("lost", [1, 1024, 1536])
def test_tar_without_its_end_is_refused_however_well_it_reads(tars: Path, make_data: MakeData, lost: int) -> None:
    path = tars / "part-0.tar"
    data = path.read_bytes().rstrip(b"\0")
    whole = data + bytes(-len(data) % 512)
    path.write_bytes(whole if lost == 1 else whole[: len(whole) - len(whole) % 512 - lost + 1024])
    with pytest.raises(UserError, match="is no tar, or is cut short: it"):
        open_webdataset(make_data("webdataset", f"data.path={tars}"))
