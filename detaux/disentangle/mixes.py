"""Which codes the consistency loss mixes in a step. B pairs in chains of some links, K subspaces, R mixes of a rank."""

from dataclasses import dataclass

import torch
from torch import Tensor

from detaux.data.draws import draw_columns, split_columns


@dataclass(frozen=True)
class Mixes:
    """Which (pair, subspace) combinations are mixed, int64 [R] each, and the number of mixes of all parts of the batch over
    the number of parts, which is what a part's sum over its mixes is divided by."""

    pair_R: Tensor
    subspace_R: Tensor
    mean_count: float

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        return self.pair_R, self.subspace_R

    def to(self, device: torch.device) -> "Mixes":
        return Mixes(self.pair_R.to(device), self.subspace_R.to(device), self.mean_count)


def count_mixes(pairs: int, subspaces: int, mixes: float) -> int:
    """Mixes drawn for some pairs: `mixes` each on average, at most and where 0 all K."""
    total = pairs * subspaces
    return total if mixes == 0 else min(total, max(1, round(mixes * pairs)))


def draw_mixes(
    links: int, chains: int, wanted: range, *, subspaces: int, mixes: float, parts: int = 1, seed: tuple[int, ...]
) -> Mixes:
    """The mixes of the chains `wanted` out of `chains` chains of `links` pairs, which `parts` ranks and micro-batches share;
    drawn without replacement."""

    def draw_places(block: range, generator: torch.Generator) -> Tensor:
        """Place in the drawn order of each (link, subspace, chain), -1 where it is not mixed."""
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
