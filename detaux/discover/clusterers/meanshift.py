"""Mean shift: modes of the density are clusters, their number is not given."""

import numpy as np
from sklearn.cluster import MeanShift, estimate_bandwidth
from sklearn.metrics import pairwise_distances

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment
from detaux.discover.clusterers.kmeans import compute_margin

MOST_POINTS = 2000  # modes are sought among a seeded subsample: every seed visits every point
SMALLEST_BANDWIDTH = 1e-3  # of the points' root mean squared distance from their mean, where most points coincide


def cluster_meanshift(points_ND: np.ndarray, config: DiscoverConfig, seed: int) -> Assignment:
    """Bandwidth = `discover.bandwidth_quantile` of the pair distances; every point joins its nearest mode, none is noise."""
    chosen = np.random.default_rng(seed).permutation(len(points_ND))[:MOST_POINTS]
    sample_ND = points_ND[chosen]
    spread = float(np.sqrt(sample_ND.var(0).sum()))
    quantile = max(config.bandwidth_quantile, 2 / len(sample_ND))  # less asks for the distance to no neighbour at all
    bandwidth = max(estimate_bandwidth(sample_ND, quantile=quantile), SMALLEST_BANDWIDTH * spread)
    try:
        modes = MeanShift(bandwidth=bandwidth, bin_seeding=True, cluster_all=True).fit(sample_ND).cluster_centers_
    except ValueError:  # no corner of the grid of seeds has a point within the bandwidth: every point is a seed then
        modes = MeanShift(bandwidth=bandwidth, cluster_all=True).fit(sample_ND).cluster_centers_
    distances_NC = pairwise_distances(points_ND, modes)
    return Assignment(distances_NC.argmin(1), compute_margin(distances_NC), "scikit-learn MeanShift")
