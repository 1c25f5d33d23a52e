"""Assign points to the centres of clusters.

N points, C centres, D size of a point.
"""

import numpy as np
import torch
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers.distances import measure_in_tiles


def assign_to_centres(points_ND: Tensor, centres_CD: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centre of each point [N], and how much nearer it is than the second nearest, [N].

    The second value is 0 at the border, and 1 at the centre or if there is no other centre. The device of the centres
    computes both.
    """
    labels, margins = [], []
    for distances in measure_in_tiles(points_ND.to(centres_CD.device), centres_CD):
        labels.append(distances.argmin(1))
        margins.append(compute_margin(distances))
    return torch.cat(labels).cpu().numpy(), torch.cat(margins).cpu().numpy()


def compute_margin(distances_NC: Tensor) -> Tensor:
    """Compute 1 - nearest / second nearest, [N]; 1 if there is only one centre."""
    if distances_NC.shape[1] < 2:
        return torch.ones_like(distances_NC[:, 0])
    first_N, second_N = distances_NC.topk(2, largest=False).values.unbind(1)
    return 1 - first_N / second_N.clamp_min(torch.finfo(torch.float32).tiny)


def count_centres(points_ND: Tensor, config: DiscoverConfig) -> int:
    """Return `discover.clusters`, or the number of distinct points if that is less."""
    return min(config.clusters, len(points_ND.unique(dim=0)))
