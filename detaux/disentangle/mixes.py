"""Draw the codes that the consistency loss mixes in a step.

There are B pairs in chains of links, K subspaces, and R mixes of a rank.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from detaux.data.draws import draw_columns, split_columns


@dataclass(frozen=True)
class Mixes:
    """Hold the mixed combinations of pair and subspace, int64 [R] each, and their mean number in a part of the batch.

    `mean_count` is the number of mixes in the whole batch divided by its number of parts. Each part divides its sum
    over mixes by it.
    """

    pair_R: Tensor
    subspace_R: Tensor
    mean_count: float

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        return self.pair_R, self.subspace_R

    def to(self, device: torch.device) -> "Mixes":
        return Mixes(self.pair_R.to(device), self.subspace_R.to(device), self.mean_count)


def count_mixes(pairs: int, subspaces: int, mixes: float) -> int:
    """Return the number of mixes for `pairs` pairs: on average `mixes` per pair, at least 1 in total.

    0 means all K subspaces of every pair, which is also the maximum.
    """
    total = pairs * subspaces
    return total if mixes == 0 else min(total, max(1, round(mixes * pairs)))


def draw_mixes(
    links: int, chains: int, wanted: range, *, subspaces: int, mixes: float, parts: int = 1, seed: tuple[int, ...]
) -> Mixes:
    """Draw the mixes of the chains `wanted` without replacement.

    The whole batch has `chains` chains of `links` pairs. It is divided into `parts`, one for each rank and micro-batch.
    """

    def draw_places(block: range, generator: torch.Generator) -> Tensor:
        """Return the place of each (link, subspace, chain) in the drawn order, -1 if it is not mixed."""
        total = links * len(block) * subspaces
        drawn = torch.randperm(total, generator=generator)[: count_mixes(links * len(block), subspaces, mixes)]
        places = torch.full((total,), -1)
        places[drawn] = torch.arange(len(drawn))
        return places.reshape(links, len(block), subspaces).transpose(1, 2)

    places = draw_columns(draw_places, chains, wanted, *seed)
    link_R, subspace_R, chain_R = torch.nonzero(places >= 0, as_tuple=True)
    order = torch.argsort(places[link_R, subspace_R, chain_R], stable=True)
    count = sum(count_mixes(links * len(block), subspaces, mixes) for block in split_columns(range(chains), chains))
    return Mixes((link_R * len(wanted) + chain_R)[order], subspace_R[order], count / parts)
