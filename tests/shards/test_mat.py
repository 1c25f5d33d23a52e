import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from scipy.io import savemat

import shards.mat
from detaux.errors import UserError
from shards.mat import read_mat

ARRAYS = {"X": np.arange(600, dtype=np.uint8).reshape(10, 60), "y": np.array([[3], [1]])}


@pytest.fixture
def write_mat(tmp_path: Path) -> Callable[..., Path]:
    """write_mat(arrays, **options): a MATLAB file by scipy."""

    def write(arrays: dict[str, Any] = ARRAYS, **options: Any) -> Path:
        savemat(tmp_path / "file.mat", arrays, **options)
        return tmp_path / "file.mat"

    return write


@pytest.mark.parametrize("do_compression", [True, False])
def test_arrays_are_those_that_were_saved(write_mat: Callable[..., Path], do_compression: bool) -> None:
    found = read_mat(write_mat(do_compression=do_compression), ["X", "y"])
    np.testing.assert_array_equal(found["X"], ARRAYS["X"])
    assert found["y"].tolist() == [[3], [1]]
    assert found["X"].dtype == np.uint8


@pytest.mark.parametrize("do_compression", [True, False])
def test_file_that_is_cut_anywhere_is_refused_by_name(write_mat: Callable[..., Path], do_compression: bool) -> None:
    path = write_mat(do_compression=do_compression)
    whole = path.read_bytes()
    for size in range(0, len(whole), 13):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"file\.mat (is no MATLAB v5 file|is empty|lacks the array)"):
            read_mat(path, ["X", "y"])


def test_any_bytes_end_in_a_sentence_or_arrays(write_mat: Callable[..., Path]) -> None:
    """scipy.io.loadmat ends the whole process on some of these."""
    draw, sentences = random.Random(0), []
    entry = np.zeros((1, 2), dtype=[("class", object), ("fname", object)])
    path = write_mat({**ARRAYS, "annotations": entry, "names": np.array([["a", "bc"]], dtype=object)})
    whole = path.read_bytes()
    for _ in range(250):
        data = bytearray(whole)
        for _ in range(3):
            data[draw.randrange(124, len(data))] = draw.choice([0, 1, 5, 14, 15, 127, 255, draw.randrange(256)])
        path.write_bytes(data)
        try:
            read_mat(path, ["X", "y", "annotations", "names"])
        except UserError as error:
            sentences.append(str(error))
    assert len(sentences) > 80
    assert all(one.startswith(str(path)) for one in sentences)


def test_matlab_73_file_is_refused_as_such(tmp_path: Path) -> None:
    path = tmp_path / "new.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["X"] = ARRAYS["X"]
    data = bytearray(path.read_bytes())
    data[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(data)
    with pytest.raises(
        UserError, match=r"new\.mat is a MATLAB v7\.3 file, which is not read; the published file is v5"
    ):
        read_mat(path, ["X"])
    with h5py.File(path, "w") as file:
        file["X"] = ARRAYS["X"]
    with pytest.raises(UserError, match=r"is a MATLAB v7\.3 file"):
        read_mat(path, ["X"])


def test_matlab_4_file_is_refused(write_mat: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"is no MATLAB v5 file.*header"):
        read_mat(write_mat(format="4"), ["X"])


def test_missing_array_is_named(write_mat: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"lacks the array annotations; it has X, y"):
        read_mat(write_mat(), ["annotations"])


def test_large_file_pointer_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "file.mat"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    with pytest.raises(UserError, match="Git LFS pointer"):
        read_mat(path, ["X"])


def test_small_file_that_unpacks_to_a_huge_one_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards.mat, "MOST_BYTES", 2**24)
    path = tmp_path / "bomb.mat"
    packed = zlib.compress(bytes(2**26), 1)
    header = b"MATLAB 5.0".ljust(124, b" ") + struct.pack("<H", 0x100) + b"IM"
    path.write_bytes(header + struct.pack("<2I", 15, len(packed)) + packed)
    with pytest.raises(UserError, match=f"unpacks to more than {2**24} bytes"):
        read_mat(path, ["X"])


def test_compressed_array_that_ends_too_early_is_refused(write_mat: Callable[..., Path]) -> None:
    path = write_mat({"X": np.zeros(2000)}, do_compression=False)
    whole = path.read_bytes()
    packed = zlib.compress(whole[128:])[:-4]  # all data, but without the checksum
    path.write_bytes(whole[:128] + struct.pack("<2I", 15, len(packed)) + packed)
    with pytest.raises(UserError, match="a compressed array in it is cut short"):
        read_mat(path, ["X"])


@pytest.mark.parametrize("kind", ["cell", "struct"])
def test_array_of_too_many_values_is_refused_before_it_is_made(
    write_mat: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(shards.mat, "MOST_VALUES", 9)
    cell = np.array([list("abcdefghij")], dtype=object)
    array = cell if kind == "cell" else np.zeros((1, 5), dtype=[("class", object)])
    path = write_mat({"annotations": array})
    with pytest.raises(UserError, match="more than 9 values"):
        read_mat(path, ["annotations"])
    monkeypatch.setattr(shards.mat, "MOST_VALUES", 10)
    assert len(read_mat(path, ["annotations"])["annotations"]) in (5, 10)


def test_cells_within_cells_end_at_a_depth(write_mat: Callable[..., Path]) -> None:
    nested: Any = np.array([[1.0]])
    for _ in range(shards.mat.MOST_DEPTH + 1):
        cell = np.empty((1, 1), dtype=object)
        cell[0, 0] = nested
        nested = cell
    with pytest.raises(UserError, match="8 levels"):
        read_mat(write_mat({"a": nested}), ["a"])
    assert read_mat(write_mat({"a": nested[0, 0]}), ["a"])["a"]


def test_array_that_occurs_twice_is_refused(write_mat: Callable[..., Path]) -> None:
    path = write_mat({"X": np.ones(3)})
    data = path.read_bytes()
    path.write_bytes(data + data[128:])
    with pytest.raises(UserError, match="its array X occurs twice"):
        read_mat(path, ["X"])


def simplify(value: Any) -> Any:
    """What scipy.io.loadmat gives, in our form."""
    if value is None:
        return {}
    if value.dtype.names:
        return [{name: simplify(entry[name]) for name in value.dtype.names} for entry in value.ravel("F")]
    if value.dtype == object:
        return [simplify(entry) for entry in value.ravel("F")]
    if value.dtype.kind == "U":
        return str(value.item()) if value.size else ""
    return value.tolist()


def listed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [listed(entry) for entry in value]
    return {name: listed(entry) for name, entry in value.items()} if isinstance(value, dict) else value


REAL = Path(scipy.io.matlab.__file__).parent / "tests" / "data"  # files by MATLAB 5 to 8, on three kinds of machines
UNREAD = ("4.2c", "_4_", "4_le", "complex", "sparse", "func", "object", "stringarray", "teststruct_", "hdf5", "sqr")


@pytest.mark.skipif(not REAL.is_dir(), reason="this scipy comes without its tests")
def test_files_by_matlab_itself_read_as_by_scipy() -> None:
    compared = 0
    for path in sorted(REAL.glob("test*.mat")):
        if any(part in path.name for part in UNREAD):
            with pytest.raises(UserError):
                read_mat(path, [name for name, _, _ in scipy.io.whosmat(path)] if "hdf5" not in path.name else ["x"])
            continue
        arrays = scipy.io.loadmat(path)
        names = [name for name in arrays if not name.startswith("__")]
        found = read_mat(path, names)
        assert {name: listed(found[name]) for name in names} == {name: simplify(arrays[name]) for name in names}, path
        compared += 1
    assert compared > 35
    with pytest.raises(UserError, match=r"testhdf5_7\.4_GLNX86\.mat is a MATLAB v7\.3 file"):
        read_mat(REAL / "testhdf5_7.4_GLNX86.mat", ["x"])


@pytest.mark.parametrize("number", [np.uint8, np.int16, np.uint32, np.int64, np.float32, np.float64])
def test_numbers_keep_their_class_and_shape(write_mat: Callable[..., Path], number: type) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(number)
    found = read_mat(write_mat({"a": array}, do_compression=True), ["a"])["a"]
    assert found.dtype == number
    np.testing.assert_array_equal(found, array)
