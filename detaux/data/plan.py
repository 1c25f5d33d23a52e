"""Plan the order of samples as a pure function of (seed, epoch, manifest). Nothing here reads or writes files.

A slot is a sample's index in manifest order within its split. An epoch shuffles the shards, then the blocks of each
shard, then the samples inside windows of neighbouring blocks. The endless order is one epoch after the other. A
position is a sample's index in the endless order.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detaux.data.schema import Manifest
from detaux.errors import UserError


@dataclass(frozen=True)
class BlockPlace:
    """Hold the place of a block: tar name, byte offset and size, first slot and number of samples."""

    shard: str
    offset: int
    size: int
    first_slot: int
    samples: int


@dataclass(frozen=True)
class WindowPlan:
    """Hold the blocks that are read together and the order of their n samples.

    `order` [n] indexes the samples of `blocks` laid end to end. `slots` [n] has the same samples as slots of the split.
    """

    blocks: list[BlockPlace]
    order: np.ndarray
    slots: np.ndarray


def list_blocks(manifest: Manifest, split: str) -> list[list[BlockPlace]]:
    """List the blocks of a split, shard by shard, in manifest order."""
    shards: list[list[BlockPlace]] = []
    slot = 0
    for shard in manifest.shards:
        if shard.split == split:
            places = []
            for block in shard.blocks:
                places.append(BlockPlace(shard.name, block.offset, block.size, slot, block.samples))
                slot += block.samples
            shards.append(places)
    return shards


def plan_epoch(shards: list[list[BlockPlace]], seed: int, epoch: int, window: int) -> list[WindowPlan]:
    """Plan the windows of an epoch in reading order. A window closes once it holds `window` samples or more."""
    draw = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch))))
    blocks = [
        shards[shard][block]
        for shard in draw.permutation(len(shards))
        for block in draw.permutation(len(shards[shard]))
    ]
    plans: list[WindowPlan] = []
    begin = held = 0
    for end, block in enumerate(blocks, start=1):
        held += block.samples
        if held >= window or end == len(blocks):
            order = draw.permutation(held)
            slots = np.concatenate([np.arange(b.first_slot, b.first_slot + b.samples) for b in blocks[begin:end]])
            plans.append(WindowPlan(blocks[begin:end], order, slots[order]))
            begin, held = end, 0
    return plans


def plan_windows(
    shards: list[list[BlockPlace]], seed: int, window: int, first: int
) -> Iterator[tuple[int, WindowPlan]]:
    """Yield the windows of the endless order, each with the position of its first sample.

    The first one is the window that holds position `first`.
    """
    samples = sum(block.samples for blocks in shards for block in blocks)
    epoch = first // samples
    position = epoch * samples
    while True:
        for plan in plan_epoch(shards, seed, epoch, window):
            if position + len(plan.slots) > first:
                yield position, plan
            position += len(plan.slots)
        epoch += 1


def plan_blocks(shards: list[list[BlockPlace]], seed: int, window: int, first: int) -> Iterator[BlockPlace]:
    """Yield the blocks of the windows that plan_windows yields, in reading order."""
    for _, plan in plan_windows(shards, seed, window, first):
        yield from plan.blocks


def find_stand_ins(is_good: np.ndarray) -> np.ndarray:
    """Return for each of n places the next good one, int64 [n]: itself if it is good; -1 if none is.

    After the last place comes the first.
    """
    good = np.flatnonzero(is_good)
    if len(good) == 0:
        return np.full(len(is_good), -1)
    return good[np.searchsorted(good, np.arange(len(is_good))) % len(good)]


def split_batch(size: int, part: int, parts: int, name: str) -> range:
    """Return the contiguous share of a batch of `size` that one of `parts` ranks and micro-batches takes.

    Raises UserError, naming the batch as `name`, if it does not divide. Ranks with unequal work would wait for each
    other.
    """
    if size % parts:
        raise UserError(f"{name} does not divide into {parts} equal parts, one for each rank and micro-batch.")
    share = size // parts
    return range(part * share, (part + 1) * share)


def list_positions(first: int, last: int, *, batch: int, rank: int, world_size: int) -> Iterator[range]:
    """Yield a rank's positions in the endless order from `first` to before `last`, a range for each batch.

    Batches start at `first`. Positions of the last batch from `last` on are left out.
    """
    share = split_batch(batch, rank, world_size, f"batch={batch}")
    for begin in range(first, last, batch):
        if begin + share.start < last:
            yield range(begin + share.start, min(begin + share.stop, last))
