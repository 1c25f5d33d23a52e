"""Draw random numbers as pure functions of seeds, so that a rank draws only the part that it needs."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

BLOCK = 1024  # columns that one generator draws; a rank draws whole blocks, so this bounds what it draws in vain


def seed_generator(*parts: int) -> torch.Generator:
    """Return a CPU generator that is a pure function of the given numbers."""
    state = int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state % 2**63)


def split_columns(wanted: range, total: int) -> list[range]:
    """List the blocks that hold the columns `wanted`, out of `total` columns."""
    begins = range(wanted.start // BLOCK * BLOCK, wanted.stop, BLOCK)
    return [range(begin, min(begin + BLOCK, total)) for begin in begins]


def draw_columns(draw: Callable[[range, torch.Generator], Tensor], total: int, wanted: range, *seed: int) -> Tensor:
    """Draw the columns `wanted` of a tensor [..., total] that is drawn block by block along its last dimension.

    `draw(block, generator)` returns the values of a whole block of columns. Therefore every split of the columns over
    ranks gives the same tensor.
    """
    parts = []
    for block in split_columns(wanted, total):
        number = block.start // BLOCK
        values = draw(block, seed_generator(*seed, *([number] if number else [])))
        parts.append(values[..., max(wanted.start - block.start, 0) : wanted.stop - block.start])
    return torch.cat(parts, -1)


def keep_block(draw: Callable[[range, torch.Generator], Tensor]) -> Callable[[range, torch.Generator], Tensor]:
    """Wrap a draw for many calls of draw_columns with one seed, so that batches in one block draw it only once."""
    kept: dict[range, Tensor] = {}

    def draw_once(block: range, generator: torch.Generator) -> Tensor:
        if block not in kept:
            kept.clear()
            kept[block] = draw(block, generator)
        return kept[block]

    return draw_once


def draw_picture_noise(shape: torch.Size, seed: int) -> Callable[[range], Tensor]:
    """Return a function from rows to the numbers [rows, H, W] that salt these pictures out of those of `shape` [N, H, W, C].

    They depend on the seed and on the place of a picture, so that it has the same noise whenever it is read.
    """

    total, height, width, _ = shape

    @keep_block
    def draw_block(block: range, generator: torch.Generator) -> Tensor:
        return torch.rand(height, width, len(block), generator=generator)

    return lambda rows: draw_columns(draw_block, total, rows, seed).permute(2, 0, 1)
