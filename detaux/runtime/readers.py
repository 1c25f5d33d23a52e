"""Read files that another stage or a person left; if one is damaged, raise UserError with a sentence that names it.

Each reader takes `way_on`, the end of that sentence, such as "run `detaux discover` again".
"""

import json
import zipfile
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detaux.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

LFS_MARK = b"version https://git-lfs"
PICKLE_MARKS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # written by torch.save, new and old


def describe_damage(path: Path, kind: str, error: object = "") -> str:
    """Describe why a file cannot be read: "PATH is a Git LFS pointer ..." or "PATH is no KIND, or is cut short"."""
    try:
        with path.open("rb") as stream:
            begin = stream.read(64)
    except OSError as closed:
        return f"{path} cannot be opened: {closed.strerror}"
    if begin.startswith(LFS_MARK):
        return f"{path} is a Git LFS pointer and not the file itself (`git lfs pull` fetches that)"
    reason = " ".join(str(error).split()).rstrip(".")
    fault = "is empty" if not begin else f"is no {kind}, or is cut short"
    return f"{path} {fault}{f': {reason}' if reason and begin else ''}"


def read_json(path: Path, way_on: str, names: Iterable[str] = ()) -> dict[str, Any]:
    """Read the object of a JSON file. Raises UserError if the file is damaged or lacks one of `names`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{describe_damage(path, 'JSON file', error)}; {way_on}.") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {type(found).__name__} and no mapping; {way_on}.")
    _require_names(path, found, names, way_on)
    return found


def read_rows(path: Path, way_on: str, names: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Read the rows of a parquet file. Raises UserError if the file is damaged or lacks a column of `names`."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        columns, rows = table.column_names, table.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # includes text that is not UTF-8
        if isinstance(error, FileNotFoundError):
            raise
        raise UserError(f"{describe_damage(path, 'parquet file', error)}; {way_on}.") from None
    _require_names(path, columns, names, way_on)
    return rows


def read_safetensors(path: Path, way_on: str) -> "dict[str, Tensor]":
    """Read the tensors of a .safetensors file by name. Raises UserError if the file is damaged or a pickle."""
    from safetensors.torch import load_file

    with _name_damage(path, way_on):
        tensors = load_file(path)
    return tensors


def check_safetensors(path: Path, way_on: str) -> None:
    """Raise UserError if `path` is no .safetensors file or is cut short. Only the header, with the size, is read."""
    from safetensors import safe_open

    with _name_damage(path, way_on), safe_open(path, "pt"):
        pass


@contextmanager
def _name_damage(path: Path, way_on: str) -> Iterator[None]:
    """Turn an error of safetensors into a UserError that names the file."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, OSError) and not path.is_file():
            raise
        with path.open("rb") as stream:
            is_pickle = stream.read(4).startswith(PICKLE_MARKS)
        if is_pickle:
            raise UserError(
                f"{path} is a pickle of torch.save, which could run a program; save its state_dict by safetensors.torch's "
                f"save_file, or {way_on}."
            ) from None
        raise UserError(f"{describe_damage(path, '.safetensors file', error)}; {way_on}.") from None


def read_weights(path: Path, way_on: str) -> "dict[str, Tensor]":
    """Read the tensors, by name, of a .safetensors file or of a file by torch.save; only tensors are unpickled.

    Raises UserError if the file is damaged or holds anything else.
    """
    with path.open("rb") as stream:
        is_pickle = stream.read(4).startswith(PICKLE_MARKS)
    if not is_pickle:
        return read_safetensors(path, way_on)
    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch refuses everything but tensors, and raises nearly anything on hostile bytes
        reason = str(error).partition("\n")[0]
        raise UserError(f"{describe_damage(path, 'file of tensors by torch.save', reason)}; {way_on}.") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {type(found).__name__} and no state_dict; {way_on}.")
    for name, value in found.items():
        if not isinstance(value, torch.Tensor):
            raise UserError(f"{path} holds {name!r}, which is no tensor, and no plain state_dict; {way_on}.")
    return dict(found)


def read_npz(path: Path, way_on: str, names: Iterable[str] = ()) -> "dict[str, np.ndarray]":
    """Read the arrays of an .npz file without unpickling. Raises UserError if it is damaged or lacks one of `names`."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile, OSError) as error:
        if isinstance(error, OSError) and not path.is_file():
            raise
        raise UserError(f"{describe_damage(path, '.npz file', error)}; {way_on}.") from None
    _require_names(path, found, names, way_on)
    return found


def read_npy(path: Path, way_on: str) -> "np.ndarray":
    """Read the array of a .npy file without unpickling. Raises UserError unless it is an array of real numbers."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, OSError) and not path.is_file():
            raise
        raise UserError(f"{describe_damage(path, '.npy file', error)}; {way_on}.") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = array.dtype if isinstance(array, np.ndarray) else "an archive of arrays"
        raise UserError(f"{path} holds {kind}; an array of real numbers is expected; {way_on}.")
    return array


def _require_names(path: Path, found: Container[str], names: Iterable[str], way_on: str) -> None:
    lacking = [name for name in names if name not in found]
    if lacking:
        raise UserError(f"{path} lacks {lacking[0]!r}; {way_on}.")
