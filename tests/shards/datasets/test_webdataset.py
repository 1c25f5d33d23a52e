import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detaux.config.schema import DataConfig
from detaux.errors import UserError
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
    assert source.value_names["class"] == ["-1", "3", "7"]
    assert source.factor_values[:, 0].tolist() == [2, 1, 1, -1, -1, 0]


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


@pytest.mark.parametrize("lost", [1, 1024, 1536])
def test_tar_without_its_end_is_refused_however_well_it_reads(tars: Path, make_data: MakeData, lost: int) -> None:
    path = tars / "part-0.tar"
    data = path.read_bytes().rstrip(b"\0")
    whole = data + bytes(-len(data) % 512)
    path.write_bytes(whole if lost == 1 else whole[: len(whole) - len(whole) % 512 - lost + 1024])
    with pytest.raises(UserError, match="is no tar, or is cut short"):
        open_webdataset(make_data("webdataset", f"data.path={tars}"))
