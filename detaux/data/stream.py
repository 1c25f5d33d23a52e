"""Read a split in its endless planned order, either step by step from its tars or from a cache of the whole split.

The order depends only on the seed, data.window and the manifest, never on the number of loader workers or on the cache.
If a sample cannot be read, the next good one of its block takes its place, or of the planned window if the whole block
is bad. So every rank and every number of workers see the same number of batches.
"""

from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from detaux.config.schema import DataConfig
from detaux.data.plan import BlockPlace, plan_blocks, plan_windows
from detaux.data.sample_table import SampleTable
from detaux.data.split import SplitReader
from detaux.data.window import Chunk, Window, build_chunk
from detaux.errors import UserError

EpochPlan = tuple[list[list[BlockPlace]], int, int]  # blocks by shard, seed, window


class SampleStream:
    """Return windows of the endless order by `window(first, count)`, fastest if `first` grows.

    `samples` counts the slots of an epoch, `bad` the samples found unreadable so far. Images come on `device`.
    `factors` are kept only with `needs_factors`: they score, and nothing trains on them. Raises UserError if the split
    is empty or too much of it cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        config: DataConfig,
        *,
        seed: int,
        device: torch.device,
        needs_factors: bool = False,
    ) -> None:
        self._reader = SplitReader(folder, split, config)
        self._device, self._needs_factors = device, needs_factors
        self._plan = (self._reader.shards, seed, config.window)
        manifest = self._reader.manifest
        size = self.samples * manifest.side**2 * manifest.channels
        self._storage = choose_storage(config, size, device)
        self._table: SampleTable | None = None
        self._chunks: deque[Chunk] = deque()
        self._source: Iterator[Chunk] = iter(())

    @property
    def samples(self) -> int:
        return self._reader.samples

    @property
    def classes(self) -> int:
        """Return the number of principal classes."""
        return len(self._reader.manifest.classes)

    @property
    def bad(self) -> int:
        return self._reader.bad

    def window(self, first: int, count: int) -> Window:
        """Return the samples first .. first + count - 1 of the endless order. `count` is at most an epoch's samples."""
        if not (first >= 0 and 0 < count <= self.samples):
            raise ValueError(f"no window of {count} samples from {first} on in epochs of {self.samples}")
        if not (self._chunks and self._chunks[0].first <= first <= self._chunks[-1].end):
            self._chunks.clear()
            self._source = self._open(first)
        while not self._chunks or self._chunks[-1].end < first + count:
            self._chunks.append(next(self._source))
        while self._chunks[0].end <= first:
            self._chunks.popleft()
        return Window(list(self._chunks), first, count, self._device)

    def forget(self) -> None:
        """Let go of the samples that were read for windows. The next window opens the split again."""
        self._chunks.clear()
        self._source = iter(())

    def _open(self, first: int) -> Iterator[Chunk]:
        if self._storage is None:
            return read_chunks(self._reader, self._plan, first, needs_factors=self._needs_factors)
        if self._table is None:
            self._table = self._reader.read_table(self._storage, needs_factors=self._needs_factors)
        return cut_chunks(self._table, self._plan, first)


def choose_storage(config: DataConfig, size: int, device: torch.device) -> torch.device | None:
    """Choose where a split of `size` bytes is cached: the device, the host, or None to read the tars each time."""
    host = torch.device("cpu")
    if config.cache == "auto":
        if size > config.cache_bytes:
            return None
        has_room = device.type != "cuda" or size < torch.cuda.mem_get_info(device)[0] // 2  # the rest is for training
        return device if has_room else host
    return {"device": device, "host": host, "none": None}[config.cache]


def cut_chunks(table: SampleTable, plan: EpochPlan, first: int) -> Iterator[Chunk]:
    """Yield planned windows from a table of the whole split. The first one holds position `first`."""
    for position, window in plan_windows(*plan, first):
        yield _show(position, table, window.slots, window.slots)


def read_chunks(reader: SplitReader, plan: EpochPlan, first: int, *, needs_factors: bool) -> Iterator[Chunk]:
    """Yield planned windows, each read from the tars into its own table. The first one holds position `first`.

    Images of packed tars are read only when they are taken.
    """
    blocks = reader.read(partial(plan_blocks, *plan, first), in_files=True)
    for position, window in plan_windows(*plan, first):
        table = reader.blank_table(len(window.order), needs_factors=needs_factors, in_files=True)
        row = 0
        for block in islice(blocks, len(window.blocks)):
            table.put(row, block.table)
            row += block.place.samples
        yield _show(position, table, window.order, window.slots)


def _show(position: int, table: SampleTable, order: np.ndarray, slots: np.ndarray) -> Chunk:
    chunk = build_chunk(position, table, order, slots)
    if chunk is None:
        raise UserError(
            f"none of {len(slots)} neighbouring samples can be read (positions {position} to {position + len(slots) - 1} of "
            "the plan); build the shards again or raise data.window."
        )
    return chunk
