"""Decoded samples on hand: the table that keeps them, and the window of the endless order that shows them.

Letters: R rows of a table, n samples asked for, m images of a batch, W samples of a window, F ground-truth factors, H W C image.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detaux.data.file_images import FileImages
from detaux.data.plan import find_stand_ins


@dataclass
class SampleTable:
    """Decoded samples, one a row.

    images uint8 [R, H, W, C] on any device, or in their files still; on the CPU: labels int64 [R], keys, factors int64
    [R, F] or None, and stand_ins int64 [R], the row shown in a row's place: itself where its sample is good, -1 where its
    block holds none.
    """

    images: Tensor | FileImages
    labels: Tensor
    keys: list[str]
    factors: Tensor | None
    stand_ins: np.ndarray

    @classmethod
    def blank(
        cls,
        rows: int,
        shape: tuple[int, int, int],
        factors: int,
        device: torch.device | None = None,
        *,
        in_files: bool = False,
    ) -> "SampleTable":
        """A table whose rows are all bad, their images anything; without factors where `factors` is 0."""
        images: Tensor | FileImages
        if in_files:
            images = FileImages(rows, shape)
        elif device is None or device.type == "cpu":
            # numpy asks the system for huge pages: a first touch in small ones takes longer than the copy
            images = torch.from_numpy(np.empty((rows, *shape), dtype=np.uint8))
        else:
            images = torch.empty(rows, *shape, dtype=torch.uint8, device=device)
        return cls(
            images=images,
            labels=torch.full((rows,), -1),
            keys=[""] * rows,
            factors=torch.full((rows, factors), -1) if factors else None,
            stand_ins=np.full(rows, -1),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent between processes as arrays, through a pipe: tensors would lie in shared memory, of which a container has little,
        and a block that finds no room there is lost without a word."""
        images = self.images.numpy() if isinstance(self.images, Tensor) else self.images
        factors = None if self.factors is None else self.factors.numpy()
        return _unpack, (images, self.labels.numpy(), self.keys, factors, self.stand_ins)

    @property
    def is_good(self) -> np.ndarray:
        """Which rows hold a sample that could be read, [R] bool."""
        return self.stand_ins == np.arange(len(self.stand_ins))

    def put(self, row: int, part: "SampleTable") -> None:
        """Copy the rows of `part`, whose images are kept as those here, to the rows from `row` on."""
        end = row + len(part.keys)
        if isinstance(self.images, Tensor):
            assert isinstance(part.images, Tensor)
            self.images[row:end] = part.images
        else:
            assert isinstance(part.images, FileImages)
            self.images.put(row, part.images)
        self.labels[row:end] = part.labels
        self.keys[row:end] = part.keys
        self.stand_ins[row:end] = np.where(part.stand_ins < 0, -1, part.stand_ins + row)
        if self.factors is not None and part.factors is not None:
            self.factors[row:end] = part.factors

    def take(self, rows: Tensor) -> Tensor:
        """Images of the rows [n], uint8 [n, H, W, C], on the device of the table; of images in files, on the CPU."""
        if isinstance(self.images, Tensor):
            # index_select copies whole images; indexing with [] would copy byte by byte
            return self.images.index_select(0, rows.to(self.images.device))
        batch = torch.empty(len(rows), *self.images.shape[1:], dtype=torch.uint8)
        self.images.fill(batch, torch.arange(len(rows)), rows)
        return batch

    def fill(self, batch: Tensor, targets: Tensor, rows: Tensor) -> None:
        """Copy the images of the rows [n] to `batch` [m, H, W, C], on the CPU as they are, at `targets` [n]."""
        if isinstance(self.images, Tensor):
            # index_copy_ takes thirty times as long
            batch.numpy()[targets.numpy()] = self.images.index_select(0, rows).numpy()
        else:
            self.images.fill(batch, targets, rows)


def _unpack(
    images: np.ndarray | FileImages,
    labels: np.ndarray,
    keys: list[str],
    factors: np.ndarray | None,
    stand_ins: np.ndarray,
) -> SampleTable:
    return SampleTable(
        images=torch.from_numpy(images) if isinstance(images, np.ndarray) else images,
        labels=torch.from_numpy(labels),
        keys=keys,
        factors=None if factors is None else torch.from_numpy(factors),
        stand_ins=stand_ins,
    )


@dataclass(frozen=True)
class Chunk:
    """A planned window of the endless order: position `first` + i has slot slots[i] and shows row rows[i] of `table`."""

    first: int
    table: SampleTable
    rows: Tensor
    slots: Tensor
    is_valid: Tensor

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


def build_chunk(first: int, table: SampleTable, order: np.ndarray, slots: np.ndarray) -> Chunk | None:
    """Show the table's rows in `order`; a sample whose block holds no good one shows the next good one of the chunk.

    None where the chunk holds no good sample at all.
    """
    shown = table.stand_ins[order]
    stand_ins = find_stand_ins(shown >= 0)
    if (stand_ins < 0).any():
        return None
    is_valid = torch.from_numpy(shown == order)
    return Chunk(first, table, torch.from_numpy(shown[stand_ins]), torch.from_numpy(slots), is_valid)


class Window:
    """Samples first .. first + W of the endless order, on hand at once; it stays as it is when the stream moves on.

    On the CPU: labels int64 [W]; slots int64 [W] as planned; is_valid bool [W], False where another sample stands in for
    one that cannot be read; factors int64 [W, F] or None, only to score.
    """

    def __init__(self, chunks: list[Chunk], first: int, count: int, device: torch.device) -> None:
        # the stream may hold chunks that begin behind the window
        inside = [chunk for chunk in chunks if chunk.first < first + count]
        spans = [(chunk, slice(max(0, first - chunk.first), first + count - chunk.first)) for chunk in inside]
        self._device = device
        self._tables = list({id(chunk.table): chunk.table for chunk in inside}.values())
        number = {id(table): index for index, table in enumerate(self._tables)}
        self._numbers = _join([torch.full_like(chunk.rows[span], number[id(chunk.table)]) for chunk, span in spans])
        self._rows = _join([chunk.rows[span] for chunk, span in spans])
        self.slots = _join([chunk.slots[span] for chunk, span in spans])
        self.is_valid = _join([chunk.is_valid[span] for chunk, span in spans])
        self.labels = _join([chunk.table.labels[chunk.rows[span]] for chunk, span in spans])
        self._held: Tensor | None = None
        factors = [chunk.table.factors[chunk.rows[span]] for chunk, span in spans if chunk.table.factors is not None]
        self.factors = _join(factors) if factors else None

    def keys(self, index: list[int]) -> list[str]:
        """Keys of the samples shown at `index` of the window."""
        return [self._tables[int(self._numbers[i])].keys[int(self._rows[i])] for i in index]

    def hold(self) -> "Window":
        """This window, its images in memory from now on where they lay in files."""
        if not all(isinstance(table.images, Tensor) for table in self._tables):
            self._held = self._gather(torch.arange(len(self.labels)))
        return self

    def images(self, index: Tensor) -> Tensor:
        """uint8 [n, H, W, C], on the stream's device, of the samples shown at `index` [n] of the window."""
        index = index.cpu()
        batch = self._gather(index)
        if batch.device.type == self._device.type:
            return batch
        return batch.pin_memory().to(self._device, non_blocking=True)

    def _gather(self, index: Tensor) -> Tensor:
        if self._held is not None:
            return self._held.index_select(0, index)
        rows = self._rows[index]
        if len(self._tables) == 1:
            return self._tables[0].take(rows)
        batch = torch.empty(len(rows), *self._tables[0].images.shape[1:], dtype=torch.uint8)
        for number, table in enumerate(self._tables):
            here = torch.nonzero(self._numbers[index] == number).squeeze(1)
            table.fill(batch, here, rows[here])
        return batch


def _join(parts: list[Tensor]) -> Tensor:
    """The parts one after the other; one alone is not copied, which saves most of the time that a window takes."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
