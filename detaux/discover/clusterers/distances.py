"""Compute distances between points, from differences and never all at once.

N, M points, D size of a point.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from detaux.discover.clusterers.limit import check_limit

TILE = 2**22  # distances held at once


def measure(first_ND: Tensor, second_MD: Tensor) -> Tensor:
    """Compute Euclidean distances [N, M]."""
    # |a|^2 + |b|^2 - 2 ab would cancel
    return torch.cdist(first_ND, second_MD, compute_mode="donot_use_mm_for_euclid_dist")


def measure_in_tiles(points_ND: Tensor, others_MD: Tensor) -> Iterator[Tensor]:
    """Yield the distances [n, M] of the points to the others, for some points at a time."""
    for part_ND in points_ND.split(max(1, TILE // len(others_MD))):
        check_limit()
        yield measure(part_ND, others_MD)


def find_nearest(points_ND: Tensor, others_MD: Tensor) -> Tensor:
    """Return the row of the nearest of the others for each point: int64 [N]."""
    return torch.cat([distances.argmin(1) for distances in measure_in_tiles(points_ND, others_MD)])
