"""Run mean shift by scikit-learn: every mode of the density is a cluster, so their number is not given."""

from functools import partial

import numpy as np
import torch
from sklearn.cluster import MeanShift, estimate_bandwidth
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment
from detaux.discover.clusterers.centres import assign_to_centres

MOST_POINTS = 2000  # a seeded subsample gives the modes, because every seed visits every point
SMALLEST_BANDWIDTH = 1e-3  # of the points' root mean squared distance from their mean, in case most points coincide


def draw_sample(points_ND: Tensor, seed: int) -> Tensor:
    """Draw at most MOST_POINTS of the points, in an order that is the same for every device."""
    chosen = np.random.default_rng(seed).permutation(len(points_ND))[:MOST_POINTS]
    return points_ND[torch.from_numpy(chosen).to(points_ND.device)]


def cluster_meanshift(points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment:
    """Cluster with the `discover.bandwidth_quantile` of the pair distances as bandwidth.

    Every point joins its nearest mode, so there are no outliers.
    """
    points_ND = points_ND.cpu()
    sample_ND = draw_sample(points_ND, seed).numpy()
    spread = float(np.sqrt(sample_ND.var(0).sum()))
    quantile = max(config.bandwidth_quantile, 2 / len(sample_ND))  # a smaller one includes no neighbour at all
    bandwidth = max(estimate_bandwidth(sample_ND, quantile=quantile), SMALLEST_BANDWIDTH * spread)
    try:
        modes = MeanShift(bandwidth=bandwidth, bin_seeding=True, cluster_all=True).fit(sample_ND).cluster_centers_
    except ValueError:  # no seed of the grid has a point within the bandwidth, so every point becomes a seed
        modes = MeanShift(bandwidth=bandwidth, cluster_all=True).fit(sample_ND).cluster_centers_
    predict = partial(assign_to_centres, centres_CD=torch.from_numpy(modes).to(points_ND.dtype))
    return Assignment(*predict(points_ND), "scikit-learn MeanShift", predict)
