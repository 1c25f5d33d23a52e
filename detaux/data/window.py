"""Show a window of the endless order: samples that tables hold.

Letters: n samples asked for, W samples of a window, F ground-truth factors, H W C image.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detaux.data.image_rows import ImageRows
from detaux.data.plan import find_stand_ins
from detaux.data.sample_table import SampleTable


@dataclass(frozen=True)
class Chunk:
    """Hold a planned window of the endless order.

    Position `first` + i has slot slots[i] and shows row rows[i] of `table`. is_valid[i] is False if that row holds
    another sample, which stands in for one that cannot be read.
    """

    first: int
    table: SampleTable
    rows: Tensor
    slots: Tensor
    is_valid: Tensor

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


def build_chunk(first: int, table: SampleTable, order: np.ndarray, slots: np.ndarray) -> Chunk | None:
    """Show the table's rows in `order`. If a sample's block holds no good one, show the next good one of the chunk.

    Return None if the chunk holds no good sample at all.
    """
    shown = table.stand_ins[order]
    stand_ins = find_stand_ins(shown >= 0)
    if (stand_ins < 0).any():
        return None
    is_valid = torch.from_numpy(shown == order)
    return Chunk(first, table, torch.from_numpy(shown[stand_ins]), torch.from_numpy(slots), is_valid)


class Window:
    """Hold W samples of the endless order, from position `first` on. It does not change when the stream moves on.

    On the CPU: labels int64 [W]; slots int64 [W] as planned; is_valid bool [W], False if another sample stands in for
    one that cannot be read; factors int64 [W, F] or None, only to score.
    """

    def __init__(self, chunks: list[Chunk], first: int, count: int, device: torch.device) -> None:
        # the stream may hold chunks that start after the window
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
        """Return the keys of the samples shown at `index` of the window."""
        return [self._tables[int(self._numbers[i])].keys[int(self._rows[i])] for i in index]

    def hold(self, most: int) -> "Window":
        """Read the images into memory if they are in files and have at most `most` bytes. Return this window."""
        lies_in_files = not all(isinstance(table.images, Tensor) for table in self._tables)
        if lies_in_files and self.all_images.shape.numel() <= most:
            self._held = self._gather(torch.arange(len(self.labels)))
        return self

    @property
    def all_images(self) -> ImageRows:
        """Return all images of the window, each read when it is taken."""
        return ImageRows(self.images, torch.Size((len(self.labels), *self._tables[0].images.shape[1:])), self._device)

    def images(self, index: Tensor) -> Tensor:
        """Return the images shown at `index` [n] of the window, uint8 [n, H, W, C], on the stream's device."""
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
    """Concatenate the parts. A single part is not copied, which saves most of the time that a window takes."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)
