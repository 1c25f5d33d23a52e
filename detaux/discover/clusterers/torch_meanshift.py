"""Run mean shift in torch (Comaniciu and Meer 2002, flat kernel), on the device of the points.

N points, M points of a subsample, which are also the seeds, C modes, D size of a point.
"""

from functools import partial

import torch
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment
from detaux.discover.clusterers.centres import assign_to_centres
from detaux.discover.clusterers.distances import measure
from detaux.discover.clusterers.meanshift import SMALLEST_BANDWIDTH, draw_sample

MOST_ROUNDS = 300
TOLERANCE = 1e-3  # of the bandwidth: seeds that move less stand still


def cluster_torch_meanshift(points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment:
    """Cluster with the `discover.bandwidth_quantile` of the pair distances as bandwidth.

    Every point joins its nearest mode, so there are no outliers.
    """
    sample_MD = draw_sample(points_ND, seed)
    modes_CD = find_modes(sample_MD, estimate_bandwidth(sample_MD, config.bandwidth_quantile))
    predict = partial(assign_to_centres, centres_CD=modes_CD)
    return Assignment(*predict(points_ND), f"torch mean shift, {points_ND.device.type}", predict)


def estimate_bandwidth(sample_MD: Tensor, quantile: float) -> Tensor:
    """Return the mean distance of a point to its (quantile x M)-th nearest, a scalar, as scikit-learn does.

    The point itself counts as the first.
    """
    neighbours = min(len(sample_MD), max(2, int(quantile * len(sample_MD))))
    reach_M = measure(sample_MD, sample_MD).kthvalue(neighbours, dim=1).values
    spread = sample_MD.var(0, correction=0).sum().sqrt()
    return reach_M.mean().maximum(SMALLEST_BANDWIDTH * spread)


def find_modes(sample_MD: Tensor, bandwidth: Tensor) -> Tensor:
    """Find the modes [C, D]: every seed moves to the mean of the points within the bandwidth, until all stand still.

    The mode with most points comes first. A seed is another mode only if it is farther than the bandwidth from all
    earlier modes.
    """
    seeds_MD, origin_D = sample_MD, sample_MD.mean(0)
    for _ in range(MOST_ROUNDS):
        is_near_MM = (measure(seeds_MD, sample_MD) <= bandwidth).to(sample_MD.dtype)
        count_M = is_near_MM.sum(1)
        moved_MD = origin_D + is_near_MM @ (sample_MD - origin_D) / count_M[:, None].clamp_min(1)
        moved_MD = torch.where(count_M[:, None] > 0, moved_MD, seeds_MD)
        is_still = (moved_MD - seeds_MD).norm(dim=1).max() <= TOLERANCE * bandwidth
        seeds_MD = moved_MD
        if is_still:
            break
    weight_M, modes = count_M.clone(), []
    while bool((weight_M >= 0).any()):
        mode_D = seeds_MD[weight_M.argmax()]
        modes.append(mode_D)
        weight_M[measure(seeds_MD, mode_D[None])[:, 0] <= bandwidth] = -1
    return torch.stack(modes)
