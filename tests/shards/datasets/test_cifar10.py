import gzip
import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_sets import CIFAR10_NAMES, make_cifar10, write_cifar10, write_tar

from detaux.config import Config
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.build import build_shards
from shards.datasets.cifar10 import open_cifar10
from shards.records import Source

MakeData = Callable[..., DataConfig]
FOLDER = "cifar-10-batches-bin"


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("form", ["archive", "its folder", "batches", "their folder", "plain tar"])
def test_binary_version_gives_its_pixels_labels_and_split(
    make_data: MakeData, read_images: Callable[[Source], np.ndarray], tmp_path: Path, form: str
) -> None:
    files, images, labels = make_cifar10(per_batch=7, tests=11)
    if form.endswith(("archive", "its folder")):
        path = write_cifar10(tmp_path, per_batch=7, tests=11)
        path = path if form == "archive" else tmp_path
    elif form == "plain tar":
        path = tmp_path / "cifar.tar"
        path.write_bytes(gzip.decompress(write_cifar10(tmp_path, per_batch=7, tests=11).read_bytes()))
    else:
        path = write_folder(tmp_path / FOLDER, files)
        path = path if form == "batches" else tmp_path
    source = open_cifar10(make_data("cifar10", f"data.path={path}", "data.side=32"))
    np.testing.assert_array_equal(read_images(source), images)
    np.testing.assert_array_equal(source.factor_values[:, 0], labels)
    assert source.published_split.tolist() == ["train"] * 35 + ["test"] * 11
    assert source.value_names["class"] == CIFAR10_NAMES


def test_pixel_of_a_record_by_hand(
    make_data: MakeData, read_images: Callable[[Source], np.ndarray], tmp_path: Path
) -> None:
    files, _, _ = make_cifar10(per_batch=1, tests=1)
    record = bytearray(3073)
    record[0] = 3
    record[1 + 2 * 32 + 5] = 11  # red at row 2, column 5
    record[1 + 1024 + 31 * 32] = 22  # green at row 31, column 0
    record[1 + 2048 + 31] = 33  # blue at row 0, column 31
    write_folder(tmp_path, {**files, "data_batch_1.bin": bytes(record)})
    source = open_cifar10(make_data("cifar10", f"data.path={tmp_path}", "data.side=32"))
    image = read_images(source)[0]
    assert source.factor_values[0, 0] == 3
    assert {tuple(place): int(image[tuple(place)]) for place in np.argwhere(image)} == {
        (2, 5, 0): 11,
        (31, 0, 1): 22,
        (0, 31, 2): 33,
    }


def change(files: dict[str, bytes], case: str) -> dict[str, bytes]:
    """The files of the binary version with one fault."""
    batch = files["data_batch_2.bin"]
    changed = {
        "cut": {"data_batch_2.bin": batch[:-1]},
        "cut between images": {"data_batch_2.bin": batch[: 3 * 3073]},
        "first cut between images": {"data_batch_1.bin": files["data_batch_1.bin"][:3073]},
        "empty": {"data_batch_2.bin": b""},
        "label": {"data_batch_2.bin": b"\x0a" + batch[1:]},
        "copy": {"test_batch.bin": batch},
        "names": {"batches.meta.txt": b"apple\nbear\n"},
        "sixth": {"data_batch_6.bin": batch},
    }
    return {**files, **changed.get(case, {})}


@pytest.mark.parametrize("packed", [True, False], ids=["archive", "folder"])
@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("cut", r"data_batch_2\.bin has 15364 bytes, which is no multiple of the 3073"),
        ("cut between images", r"data_batch_2\.bin has 3 images, but data_batch_1\.bin has 5; .* equal sizes\.$"),
        ("first cut between images", r"data_batch_1\.bin has 1 images, but data_batch_2\.bin has 5;"),
        ("empty", r"data_batch_2\.bin has 0 bytes"),
        ("label", r"data_batch_2\.bin has the label 10; CIFAR-10 has 0 to 9"),
        ("copy", r"test_batch\.bin is a copy of data_batch_2\.bin"),
        ("names", r"batches\.meta\.txt does not have the ten classes"),
        ("sixth", r"holds data_batch_6\.bin; CIFAR-10 has 5 training batches"),
    ],
)
def test_wrong_batch_is_refused_by_name(
    make_data: MakeData, tmp_path: Path, case: str, sentence: str, packed: bool
) -> None:
    files = change(make_cifar10(per_batch=5, tests=5)[0], case)
    path = write_tar(tmp_path / "a.tar.gz", files, FOLDER) if packed else write_folder(tmp_path / FOLDER, files)
    with pytest.raises(UserError, match=sentence) as caught:
        open_cifar10(make_data("cifar10", f"data.path={path}"))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("packed", [True, False], ids=["archive", "folder"])
@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["data_batch_1", "test_batch", "batches.meta"], "the Python version of CIFAR-10, which is pickled"),
        (["data_batch_1.mat", "test_batch.mat", "batches.meta.mat"], "the MATLAB version"),
        (["train.bin", "test.bin", "fine_label_names.txt"], "holds CIFAR-100 and is not read"),
        (["cifar-10-python.tar.gz"], "the Python version of CIFAR-10"),
        (["notes.txt"], r"lacks data_batch_1\.bin, .*test_batch\.bin"),
    ],
)
def test_another_archive_is_refused_and_the_binary_version_is_named(
    make_data: MakeData, tmp_path: Path, names: list[str], sentence: str, packed: bool
) -> None:
    files = dict.fromkeys(names, b"\x80\x04.")
    path = write_tar(tmp_path / "a.tar.gz", files, "cifar") if packed else write_folder(tmp_path / "cifar", files)
    with pytest.raises(UserError, match=rf"{sentence}.*cifar-10-binary\.tar\.gz"):
        open_cifar10(make_data("cifar10", f"data.path={path}"))


@pytest.mark.parametrize("name", ["train", "data_batch_1", "train.bin"])
def test_another_version_beside_the_batches_does_not_matter(make_data: MakeData, tmp_path: Path, name: str) -> None:
    files, _, labels = make_cifar10(per_batch=2, tests=2)
    folder = write_folder(tmp_path / FOLDER, files)
    if name == "train":
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(b"")
    source = open_cifar10(make_data("cifar10", f"data.path={folder}"))
    np.testing.assert_array_equal(source.factor_values[:, 0], labels)


def test_missing_batch_is_refused_by_name(make_data: MakeData, tmp_path: Path) -> None:
    files, _, _ = make_cifar10(per_batch=2, tests=2)
    del files["data_batch_4.bin"]
    with pytest.raises(UserError, match=r"lacks data_batch_4\.bin;"):
        open_cifar10(make_data("cifar10", f"data.path={write_folder(tmp_path, files)}"))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_archive_that_is_cut_short_is_refused_by_name(make_data: MakeData, tmp_path: Path, share: float) -> None:
    path = write_cifar10(tmp_path, per_batch=4, tests=4)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=re.escape(f"{path} is no")):
        open_cifar10(make_data("cifar10", f"data.path={path}"))


def test_file_that_is_no_archive_is_refused_by_name(make_data: MakeData, tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(make_cifar10(per_batch=5, tests=5)[0]["data_batch_1.bin"])
    with pytest.raises(UserError, match=r"data_batch_1\.bin is no tar"):
        open_cifar10(make_data("cifar10", f"data.path={path}"))


def test_member_too_large_to_be_a_batch_is_not_read(make_data: MakeData, tmp_path: Path) -> None:
    path = tmp_path / "bomb.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("data_batch_1.bin")
        member.size = 2**28 + 1
        header = member.tobuf()
        archive.fileobj.write(header)  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"data_batch_1\.bin has 268435457 bytes; at most 268435456 are read"):
        open_cifar10(make_data("cifar10", f"data.path={path}"))


def test_member_that_occurs_twice_is_refused(make_data: MakeData, tmp_path: Path) -> None:
    path = tmp_path / "twice.tar"
    with tarfile.open(path, "w") as archive:
        for folder in ("a", "b"):
            member = tarfile.TarInfo(f"{folder}/test_batch.bin")
            member.size = 4
            archive.addfile(member, io.BytesIO(b"\0" * 4))
    with pytest.raises(UserError, match=r"test_batch\.bin occurs twice"):
        open_cifar10(make_data("cifar10", f"data.path={path}"))


def test_missing_path_says_what_is_needed(make_data: MakeData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs data\.path, the published cifar-10-binary\.tar\.gz"):
        open_cifar10(make_data("cifar10"))
    with pytest.raises(UserError, match=r"absent does not exist; .*cifar-10-binary\.tar\.gz"):
        open_cifar10(make_data("cifar10", f"data.path={tmp_path}/absent"))


def test_published_split_is_kept_by_the_builder(make_config: Callable[..., Config], tmp_path: Path) -> None:
    path = write_cifar10(tmp_path, per_batch=20, tests=30)
    keys = (f"data.path={path}", "data.split=published", "data.validation_fraction=0.2")
    manifest = build_shards(make_config("cifar10", *keys), tmp_path / "set")
    assert [manifest.count(split) for split in ("train", "validation", "test")] == [80, 20, 30]
    assert (manifest.dataset, manifest.principal, manifest.factors) == ("cifar10", "class", {})
