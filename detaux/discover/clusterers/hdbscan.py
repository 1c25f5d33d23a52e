"""HDBSCAN with excess-of-mass selection: clusters of any shape and number, the rest noise."""

import numpy as np
from hdbscan import HDBSCAN

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment


def cluster_hdbscan(points_ND: np.ndarray, config: DiscoverConfig, seed: int) -> Assignment:
    """Clusters of at least `discover.min_cluster_fraction` of the points; `seed` is unused, nothing is drawn.

    A core point has `discover.min_samples` neighbours, at most as many as the smallest cluster. Taken equal to the smallest
    cluster, as the algorithm's authors have it by default, that number grows with the data: at 200,000 points a search for
    4,000 neighbours each needs more than 12 GiB, and more points become noise (benchmarks/LOG.md).
    """
    samples = len(points_ND)
    smallest = min(samples, max(2, round(config.min_cluster_fraction * samples)))
    neighbours = min(config.min_samples or smallest, smallest)
    model = HDBSCAN(smallest, min_samples=neighbours, core_dist_n_jobs=1)  # no processes besides the run's own
    labels = model.fit_predict(points_ND)
    return Assignment(labels, model.probabilities_, "hdbscan")
