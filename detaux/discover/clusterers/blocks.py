"""Sort points into blocks of neighbours and hold what a search knows, for the spanning tree and its kernel.

N points, D size of a vector, B blocks of neighbouring points, C components.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

BLOCK = 256  # points


@dataclass(frozen=True)
class PointBlocks:
    """Hold points [N, D] in an order in which each block of BLOCK holds neighbours; `order` [N] are their earlier rows.

    near [B, B] lists all blocks by their distance from each block, itself first. gap [B, B] is the least distance of
    these.
    """

    points_ND: Tensor
    order: Tensor
    near: Tensor
    gap: Tensor

    @property
    def count(self) -> int:
        return len(self.near)

    def rows(self, block: int) -> slice:
        return slice(block * BLOCK, min((block + 1) * BLOCK, len(self.points_ND)))

    def gather(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of some blocks, and which of them are past the last.

        Leaving those out would make the host wait for the device.
        """
        rows = (chosen[:, None] * BLOCK + torch.arange(BLOCK, device=chosen.device)).flatten()
        last = len(self.points_ND) - 1
        return rows.clamp_max(last), rows > last


def sort_into_blocks(points_ND: Tensor) -> PointBlocks:
    """Cut the points in two across their widest side, again and again, until the parts are blocks."""
    order, pending = torch.arange(len(points_ND), device=points_ND.device), [(0, len(points_ND))]
    while pending:
        begin, end = pending.pop()
        if end - begin <= BLOCK:
            continue
        part_ND = points_ND[order[begin:end]]
        side = int((part_ND.amax(0) - part_ND.amin(0)).argmax())
        order[begin:end] = order[begin:end][part_ND[:, side].argsort(stable=True)]
        middle = begin + (end - begin + BLOCK) // (2 * BLOCK) * BLOCK  # so that all blocks except the last are whole
        pending += [(begin, middle), (middle, end)]
    points_ND = points_ND[order]
    parts = points_ND.split(BLOCK)
    low_BD, high_BD = torch.stack([part.amin(0) for part in parts]), torch.stack([part.amax(0) for part in parts])
    gaps = [
        (low_BD - high).maximum(low - high_BD).clamp_min(0).norm(dim=1)
        for low, high in zip(low_BD, high_BD, strict=True)
    ]
    # what rounding adds to a gap, or takes from a distance, must not hide a point
    margin = (4 + points_ND.shape[1] ** 0.5) * torch.finfo(points_ND.dtype).eps
    gap, near = (torch.stack(gaps) * (1 - margin)).sort(stable=True, dim=1)
    return PointBlocks(points_ND, order, near, gap)


@dataclass
class Search:
    """Hold what a round knows about each point's lightest edge to another component, in the order of the blocks.

    core_N  core distances. bound_N, end_N  weight of the edge and the point at its end; if this point is in the same
    component, the weight is only a lower bound. component_N  numbers from 0. best_C  lightest edge that each component
    has found. pure_B  the component of all points of a block, -1 if there are several.
    """

    core_N: Tensor
    bound_N: Tensor
    end_N: Tensor
    component_N: Tensor
    best_C: Tensor = field(init=False)
    pure_B: Tensor = field(init=False)

    def __post_init__(self) -> None:
        best_C = self.bound_N.new_full((int(self.component_N.max()) + 1,), torch.inf)
        known_N = self.bound_N.where(self.is_known_N, torch.inf)
        self.best_C = best_C.scatter_reduce_(0, self.component_N, known_N, "amin")
        parts = self.component_N.split(BLOCK)
        low_B, high_B = torch.stack([part.min() for part in parts]), torch.stack([part.max() for part in parts])
        self.pure_B = low_B.where(low_B == high_B, -1)

    @property
    def is_known_N(self) -> Tensor:
        return self.component_N[self.end_N] != self.component_N

    @property
    def least_bound_B(self) -> Tensor:
        """Return the smallest bound in each block over the points without a known edge; infinite if all are known."""
        return torch.stack([part.min() for part in self.bound_N.where(~self.is_known_N, torch.inf).split(BLOCK)])
