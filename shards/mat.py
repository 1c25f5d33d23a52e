"""Read MATLAB v5 files, for annotations and images that authors publish so. Nothing in a file is executed.

scipy.io.loadmat reads more kinds of arrays, but on damaged bytes it can end the whole process by a segmentation fault.
Here every length is checked before it is used, and a file that unpacks to too much is refused. Format: MathWorks,
"MAT-File Format", chapter 1.
"""

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from detaux.errors import UserError, raise_machine_fault
from detaux.runtime.readers import describe_damage
from detaux.runtime.text import show_text

MOST_BYTES = 2**31  # limit of a file once unpacked; the largest that is read has 226 million
MOST_VALUES = 10**6  # limit of the arrays in a file, those in structures and cells included
MOST_DEPTH = 8  # limit of structures and cells within each other
READ_BYTES = 2**20
HEADER_BYTES = 128  # text, version and byte order
HDF5_MARK = b"\x89HDF\r\n\x1a\n"
INT8, UINT8, UINT16, INT32, UINT32, MATRIX, COMPRESSED = 1, 2, 4, 5, 6, 14, 15  # types of elements
DTYPES = {
    INT8: "i1",
    UINT8: "u1",
    3: "i2",
    UINT16: "u2",
    INT32: "i4",
    UINT32: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
ENCODINGS = {INT8: "utf-8", UINT8: "utf-8", UINT16: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
CELL, STRUCT, CHAR = 1, 2, 4  # classes of arrays
NUMBERS = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
IS_COMPLEX = 0x800


def read_mat(path: Path, names: list[str]) -> dict[str, Any]:
    """Read the arrays `names` of a MATLAB v5 file.

    Numbers are an array of MATLAB's shape and class, text of one row is a str, a cell array is the list of its values,
    and a structure array a list of dicts. Both lists are in MATLAB's order, first dimension fastest.

    Raises UserError if the file is damaged, has another version or kind of array, is too large, or lacks one of `names`.
    """
    found: dict[str, Any] = {}
    others = []
    try:
        for body, order in _read_matrices(path):
            matrix = _Cursor(body, order)
            kind, shape, name = matrix.read_head()
            if name not in names:
                others.append(show_text(name))
            elif name in found:
                raise ValueError(f"its array {name} occurs twice")
            else:
                found[name] = matrix.read_value(kind, shape)
    except UserError:
        raise
    except (ValueError, struct.error, zlib.error, OSError, MemoryError) as error:
        raise_machine_fault(error, path)
        raise UserError(f"{describe_damage(path, 'MATLAB v5 file', error)}.") from None
    for name in names:
        if name not in found:
            raise UserError(f"{path} lacks the array {name}; it has {', '.join([*found, *others]) or 'none'}.")
    return found


def _read_matrices(path: Path) -> Iterator[tuple[memoryview, str]]:
    """Yield the content of each matrix of a file, unpacked, and the byte order, < or >."""
    left = MOST_BYTES
    with path.open("rb") as stream:
        header = stream.read(HEADER_BYTES)
        if header.startswith((b"MATLAB 7.3", HDF5_MARK)) or header[124:] in (b"\0\2IM", b"\2\0MI"):
            raise UserError(
                f"{path} is a MATLAB v7.3 file, which is not read; the published file is v5 (in MATLAB: save -v7)."
            )
        if header[126:] not in (b"IM", b"MI"):
            raise ValueError("its header is not that of MATLAB v5")
        order = "<" if header.endswith(b"IM") else ">"
        while tag := stream.read(8):
            kind, length = struct.unpack(f"{order}2I", tag)
            body = memoryview(_read_exactly(stream, length, left))
            if kind == COMPRESSED:
                kind, body = _Cursor(memoryview(_unpack(body, left)), order).read_element()
            left -= len(body)
            if kind == MATRIX:
                yield body, order


def _read_exactly(stream: BinaryIO, length: int, most: int) -> bytearray:
    if length > most:
        raise ValueError(f"it has more than {MOST_BYTES} bytes of arrays")
    data = bytearray()
    while len(data) < length:
        part = stream.read(min(READ_BYTES, length - len(data)))
        if not part:
            raise ValueError(f"it ends {length - len(data)} bytes too early")
        data += part
    return data


def _unpack(data: memoryview, most: int) -> bytearray:
    """Unpack zlib's bytes piece by piece, so that a small file cannot fill the memory."""
    unpacker, whole = zlib.decompressobj(), bytearray()
    for start in range(0, len(data), READ_BYTES):
        packed = bytes(data[start : start + READ_BYTES])
        while part := unpacker.decompress(packed, READ_BYTES):
            whole += part
            packed = unpacker.unconsumed_tail
            if len(whole) > most:
                raise ValueError(f"it unpacks to more than {MOST_BYTES} bytes")
    if not unpacker.eof:
        raise ValueError("a compressed array in it is cut short")
    return whole


class _Cursor:
    """Read the elements of a matrix one after the other. Raises ValueError if one does not fit."""

    def __init__(self, data: memoryview, order: str, depth: int = 0, budget: list[int] | None = None) -> None:
        self._data, self._order, self._depth, self._place = data, order, depth, 0
        self._budget = [MOST_VALUES] if budget is None else budget  # values left, shared by all within an array

    def _take(self, length: int) -> memoryview:
        if length > len(self._data) - self._place:
            raise ValueError(f"an element of {length} bytes has only {len(self._data) - self._place} left")
        self._place += length
        return self._data[self._place - length : self._place]

    def read_element(self) -> tuple[int, memoryview]:
        """Read the type and the bytes of an element. Up to 4 bytes may be within its tag."""
        (first,) = struct.unpack(f"{self._order}I", self._take(4))
        if first >> 16:
            body = self._take(4)
            if first >> 16 > 4:
                raise ValueError(f"a short element has {first >> 16} bytes")
            return first & 0xFFFF, body[: first >> 16]
        (length,) = struct.unpack(f"{self._order}I", self._take(4))
        body = self._take(length)
        self._place = min(self._place + -length % 8, len(self._data))
        return first, body

    def read_head(self) -> tuple[int, tuple[int, ...], str]:
        """Read a matrix's class with its flags, shape and name."""
        kind, flags = self.read_element()
        if kind != UINT32 or len(flags) != 8:
            raise ValueError("an array has no flags")
        shape = self._read_numbers((INT32, UINT32)).tolist()
        if len(shape) < 2 or min(shape) < 0:
            raise ValueError(f"an array has the shape {shape}")
        return struct.unpack(f"{self._order}2I", flags)[0], tuple(shape), self._read_text()

    def read_value(self, flags: int, shape: tuple[int, ...]) -> Any:
        """Read what follows the head of a matrix: numbers, text, a list or a list of dicts."""
        kind, count = flags & 0xFF, math.prod(shape)
        if kind in NUMBERS and not flags & IS_COMPLEX:
            numbers = self._read_numbers(DTYPES)
            if len(numbers) != count:
                raise ValueError(f"an array of shape {list(shape)} has {len(numbers)} numbers")
            return numbers.astype(self._order + NUMBERS[kind], copy=False).reshape(shape, order="F")
        if kind == CHAR and (count == 0 or count == max(shape)):
            return self._read_text() if self._place < len(self._data) else ""
        if kind == CELL:
            return [self._read_matrix() for _ in range(self._spend(count))]
        if kind == STRUCT:
            (width,) = self._read_numbers((INT32, UINT32)).tolist()
            _, text = self.read_element()
            if width <= 0 or len(text) % width:
                raise ValueError("a structure has no proper names of fields")
            raw = (bytes(text[start : start + width]) for start in range(0, len(text), width))
            fields = [one.partition(b"\0")[0].decode() for one in raw]
            self._spend(count * len(fields))
            return [{field: self._read_matrix() for field in fields} for _ in range(self._spend(count))]
        raise ValueError(f"an array of class {kind}{', complex' if flags & IS_COMPLEX else ''} is not read")

    def _spend(self, count: int) -> int:
        """Return `count`, and raise ValueError once an array has more than MOST_VALUES values in all."""
        self._budget[0] -= count
        if self._budget[0] < 0 or self._depth >= MOST_DEPTH:
            raise ValueError(f"structures and cells have more than {MOST_VALUES} values or {MOST_DEPTH} levels")
        return count

    def _read_matrix(self) -> Any:
        kind, body = self.read_element()
        if kind != MATRIX:
            raise ValueError(f"an element of type {kind} is in the place of an array")
        if not body:
            return np.empty((0, 0))
        inner = _Cursor(body, self._order, self._depth + 1, self._budget)
        flags, shape, _ = inner.read_head()
        return inner.read_value(flags, shape)

    def _read_numbers(self, kinds: Any) -> np.ndarray:
        kind, body = self.read_element()
        if kind not in kinds:
            raise ValueError(f"an element of type {kind} is in the place of numbers")
        return np.frombuffer(body, np.dtype(self._order + DTYPES[kind]))

    def _read_text(self) -> str:
        kind, body = self.read_element()
        if kind not in ENCODINGS:
            raise ValueError(f"an element of type {kind} is in the place of text")
        wide = "" if ENCODINGS[kind] == "utf-8" else {"<": "-le", ">": "-be"}[self._order]
        return bytes(body).decode(ENCODINGS[kind] + wide)
