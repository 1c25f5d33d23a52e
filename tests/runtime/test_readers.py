import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import save_file

from detaux.errors import UserError
from detaux.runtime.readers import check_safetensors, read_json, read_npy, read_npz, read_rows, read_safetensors

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"


def write_npz(path):
    np.savez_compressed(path, first=np.arange(100), second=np.array(["a", "b"]))


def write_safetensors(path):
    save_file({"weight": torch.arange(100.0)}, path)


READERS = {
    "a.json": (read_json, lambda path: path.write_text('{"a": [1, 2, 3]}')),
    "a.npy": (read_npy, lambda path: np.save(path, np.arange(100.0))),
    "a.npz": (read_npz, write_npz),
    "a.parquet": (read_rows, lambda path: pyarrow.parquet.write_table(pyarrow.table({"a": range(100)}), path)),
    "a.safetensors": (read_safetensors, write_safetensors),
}


@pytest.fixture(params=READERS)
def file(request, tmp_path):
    """The path of a sound file and what reads it."""
    read, write = READERS[request.param]
    write(tmp_path / request.param)
    return tmp_path / request.param, read


def test_sound_file_is_read(file):
    path, read = file
    assert len(read(path, "try again"))


@pytest.mark.parametrize("kept", [1, 0.1, 0.5, 0.95])
def test_file_that_is_cut_is_one_sentence_with_the_way_on(file, kept):
    path, read = file
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else 1])
    kind = {"a.json": "JSON", "a.parquet": "parquet"}.get(path.name, path.suffix)
    with pytest.raises(UserError, match=rf"{path} is no {kind} file, or is cut short.*; try again\.$"):
        read(path, "try again")


@pytest.mark.parametrize(
    ("content", "fault"), [(POINTER, "is a Git LFS pointer"), (b"", "is empty"), (b"\xff\xfe junk", "is no ")]
)
def test_file_that_is_something_else_is_said_to_be(file, content, fault):
    path, read = file
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path} {fault}"):
        read(path, "try again")


def test_file_that_is_not_there_is_no_damage(file):
    path, read = file
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read(path, "try again")


@pytest.mark.parametrize("is_zipped", [True, False])
def test_pickle_in_the_place_of_safetensors_is_said_to_be_one_and_not_opened(tmp_path, is_zipped):
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(3)}, path, _use_new_zipfile_serialization=is_zipped)
    with pytest.raises(UserError, match=r"weights\.pth is a pickle of torch\.save, which could run a program"):
        read_safetensors(path, "try again")


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"0", lambda _: b""])
def test_tensors_of_another_length_than_their_header_says_are_refused_unread(tmp_path, change):
    path = tmp_path / "a.safetensors"
    write_safetensors(path)
    check_safetensors(path, "try again")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UserError, match=r"a\.safetensors is .*; try again"):
        check_safetensors(path, "try again")


def test_pickled_array_is_refused_unread(tmp_path):
    np.savez(tmp_path / "a.npz", first=np.array([{"a": 1}], object))
    with pytest.raises(UserError, match=r"a\.npz is no \.npz file"):
        read_npz(tmp_path / "a.npz", "try again")


def test_json_without_end_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="is no JSON file"):
        read_json(tmp_path / "a.json", "try again")


@pytest.mark.parametrize(("file", "name"), [("a.json", "a"), ("a.npz", "first"), ("a.parquet", "a")], indirect=["file"])
def test_file_that_lacks_a_name_is_one_sentence_with_the_way_on(file, name):
    path, read = file
    assert len(read(path, "try again", [name]))
    with pytest.raises(UserError, match=rf"{path} lacks 'absent'; try again\.$"):
        read(path, "try again", [name, "absent"])


def test_rows_of_text_that_is_no_utf_8_are_refused(tmp_path):
    words = pyarrow.StringArray.from_buffers(1, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0"), pyarrow.py_buffer(b"\xff"))
    pyarrow.parquet.write_table(pyarrow.table({"a": words}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet is no parquet file, .*; try again\.$"):
        read_rows(tmp_path / "a.parquet", "try again")


@pytest.mark.parametrize(("content", "fault"), [("[1]", "holds a list and no mapping"), ('{"a": 1}', "lacks 'b'")])
def test_json_of_another_shape_is_one_sentence(tmp_path, content, fault):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(UserError, match=rf"a\.json {fault}; try again\.$"):
        read_json(tmp_path / "a.json", "try again", ["a", "b"])
