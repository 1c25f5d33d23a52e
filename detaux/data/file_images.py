"""Leave images in their files until a batch asks for them. A rank reads only those that it uses, into the batch itself.

R rows of a table, n images asked for, m images of a batch, H W C image.
"""

from __future__ import annotations

import io
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from detaux.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

OPEN_FILES = 64  # files kept open at a time; systems allow a process 256 and more


class StoredFile(NamedTuple):
    """Describe a file as it was when its places were read, because another file may take its name later."""

    path: Path
    inode: tuple[int, int]
    size: int
    modified: int

    @classmethod
    def describe(cls, path: Path, state: os.stat_result) -> StoredFile:
        return cls(path, (state.st_dev, state.st_ino), state.st_size, state.st_mtime_ns)


class FileSpan(io.RawIOBase):
    """Show `size` bytes of an open file, from byte `begin` on, as a file of their own."""

    def __init__(self, file: BinaryIO, begin: int, size: int) -> None:
        self._file, self._begin, self._size, self._position = file, begin, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if position < 0:
            raise ValueError(f"no byte {position} in a file")
        self._position = position
        return position

    def readinto(self, buffer: Any) -> int:
        wanted = max(0, min(len(buffer), self._size - self._position))
        self._file.seek(self._begin + self._position)
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class FileImages:
    """Hold the places of R images uint8 [H, W, C] in files, to stand in for a tensor in a SampleTable.

    shape is (R, H, W, C). A row may have no place yet.
    """

    def __init__(self, rows: int, shape: tuple[int, ...]) -> None:
        self.shape = (rows, *shape)
        self._files: list[StoredFile] = []
        self._numbers = np.zeros(rows, dtype=np.int64)  # index into _files
        self._offsets = np.full(rows, -1)

    @classmethod
    def locate(cls, file: StoredFile, offset: int, shape: tuple[int, ...]) -> FileImages:
        """Place images that follow each other in a file from byte `offset` on; shape is (R, H, W, C)."""
        images = cls(shape[0], shape[1:])
        images._files = [file]
        images._offsets = offset + np.arange(shape[0]) * int(np.prod(shape[1:]))
        return images

    def __len__(self) -> int:
        return self.shape[0]

    def put(self, row: int, part: FileImages) -> None:
        """Copy the places of `part` to the rows from `row` on."""
        rows = slice(row, row + len(part))
        self._files += [file for file in part._files if file not in self._files]
        numbers = [self._files.index(file) for file in part._files]
        self._numbers[rows] = np.array([*numbers, 0])[part._numbers]  # the 0 serves a part without any file
        self._offsets[rows] = part._offsets

    def fill(self, batch: Tensor, targets: Tensor, rows: Tensor) -> None:
        """Read the images of `rows` [n] into `batch` [m, H, W, C], on the CPU, at `targets` [n].

        Raises UserError if a file cannot be read or was changed after its places were read.
        """
        images, index = batch.numpy(), rows.numpy()
        numbers, offsets = self._numbers[index].tolist(), self._offsets[index].tolist()
        files = {number: _open(self._files[number]) for number in set(numbers)}
        for target, number, offset in zip(targets.tolist(), numbers, offsets, strict=True):
            files[number].read(images[target].data, offset)


class _OpenFile:
    """Keep a stored file open until the last reference to this object is gone."""

    def __init__(self, file: StoredFile) -> None:
        self.path = file.path
        try:
            self.descriptor = os.open(file.path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{file.path} cannot be opened: {error.strerror}.") from None
        if StoredFile.describe(file.path, os.fstat(self.descriptor)) != file:
            raise UserError(f"{file.path} was changed while it was in use; start the command again.")

    def read(self, image: memoryview, offset: int) -> None:
        """Fill an image with the bytes from `offset` on."""
        count = self._read_some(image, offset)
        if count < image.nbytes:  # this is rare: one call reads most images
            rest = image.cast("B")
            while count < len(rest):
                count += self._read_some(rest[count:], offset + count) or self._fail(offset + count)

    def _read_some(self, buffer: memoryview, offset: int) -> int:
        try:
            return os.preadv(self.descriptor, [buffer], offset)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read at byte {offset}: {error.strerror}.") from None

    def _fail(self, end: int) -> int:
        raise UserError(f"{self.path} became shorter while it was in use: it ends at byte {end}.")

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@lru_cache(OPEN_FILES)
def _open(file: StoredFile) -> _OpenFile:
    return _OpenFile(file)
