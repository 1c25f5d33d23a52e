"""Images that stay in their files until a batch asks for them: a rank reads those it uses, straight into the batch."""

import io
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from detaux.errors import UserError

OPEN_FILES = 256  # kept open at a time; systems allow a process 1,024 or more


class FileSpan(io.RawIOBase):
    """`size` bytes of an open file from `begin` on, as a file of their own."""

    def __init__(self, file: BinaryIO, begin: int, size: int) -> None:
        self._file, self._begin, self._size, self._place = file, begin, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._place))
        self._file.seek(self._begin + self._place)
        data = self._file.read(count)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


class FileImages:
    """R images uint8 [H, W, C], each at its place in a file or nowhere: what a SampleTable needs of a tensor.

    shape  (R, H, W, C).
    """

    def __init__(self, rows: int, shape: tuple[int, ...]) -> None:
        self.shape = (rows, *shape)
        self._paths: list[Path] = []
        self._numbers = np.zeros(rows, dtype=np.int64)  # of the path
        self._offsets = np.full(rows, -1)

    @classmethod
    def locate(cls, path: Path, offset: int, shape: tuple[int, ...]) -> "FileImages":
        """The images of a file that lie one after the other from byte `offset` on; shape (R, H, W, C)."""
        images = cls(shape[0], shape[1:])
        images._paths = [path]
        images._offsets = offset + np.arange(shape[0]) * int(np.prod(shape[1:]))
        return images

    def __len__(self) -> int:
        return self.shape[0]

    def put(self, row: int, part: "FileImages") -> None:
        """Take over the places of `part` for the rows from `row` on."""
        rows = slice(row, row + len(part))
        self._paths += [path for path in part._paths if path not in self._paths]
        numbers = [self._paths.index(path) for path in part._paths]
        self._numbers[rows] = np.array([*numbers, 0])[part._numbers]  # 0: a part without any file
        self._offsets[rows] = part._offsets

    def read_ahead(self) -> None:
        """Ask the system to fetch what `locate` found in one sweep, before it is read image by image."""
        if self._paths and hasattr(os, "posix_fadvise"):
            size = int(np.prod(self.shape))
            os.posix_fadvise(_open(self._paths[0]).descriptor, int(self._offsets[0]), size, os.POSIX_FADV_WILLNEED)

    def fill(self, batch: Tensor, places: Tensor, rows: Tensor) -> None:
        """Read the images of `rows` [n] into `batch` [m, H, W, C] at `places` [n].

        Raises UserError where a file cannot be read or is shorter than it was.
        """
        images, index = batch.numpy(), rows.numpy()
        numbers, offsets = self._numbers[index].tolist(), self._offsets[index].tolist()
        files = {number: _open(self._paths[number]) for number in set(numbers)}
        for place, number, offset in zip(places.tolist(), numbers, offsets, strict=True):
            files[number].read(images[place].data, offset)


class _OpenFile:
    """A file that is closed with the last reference to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise UserError(f"{path} cannot be opened: {error.strerror}.") from None

    def read(self, image: memoryview, offset: int) -> None:
        """Fill an image from byte `offset` on."""
        try:
            count = os.preadv(self.descriptor, [image], offset)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read at byte {offset}: {error.strerror}.") from None
        if count < image.nbytes:
            raise UserError(f"{self.path} became shorter while it was in use: it ends at byte {offset + count}.")

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


@lru_cache(OPEN_FILES)
def _open(path: Path) -> _OpenFile:
    return _OpenFile(path)
