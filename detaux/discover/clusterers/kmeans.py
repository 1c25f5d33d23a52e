"""k-means with random or k-means++ starts, the best of ten."""

import numpy as np
from sklearn.cluster import KMeans

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment

STARTS = 10


def cluster_kmeans(points_ND: np.ndarray, config: DiscoverConfig, seed: int) -> Assignment:
    """`discover.clusters` clusters from random starts."""
    return _fit(points_ND, config, seed, "random")


def cluster_kmeans_plus_plus(points_ND: np.ndarray, config: DiscoverConfig, seed: int) -> Assignment:
    """`discover.clusters` clusters from k-means++ starts (Arthur and Vassilvitskii 2007)."""
    return _fit(points_ND, config, seed, "k-means++")


def _fit(points_ND: np.ndarray, config: DiscoverConfig, seed: int, start: str) -> Assignment:
    clusters = min(config.clusters, len(np.unique(points_ND, axis=0)))
    model = KMeans(clusters, init=start, n_init=STARTS, random_state=seed).fit(points_ND)
    return Assignment(model.labels_, compute_margin(model.transform(points_ND)), f"scikit-learn KMeans, {start}")


def compute_margin(distances_NC: np.ndarray) -> np.ndarray:
    """How much nearer the first centre is than the second, [N]: 0 at the border, 1 at the centre or where it is alone."""
    if distances_NC.shape[1] < 2:
        return np.ones(len(distances_NC))
    nearest_N2 = np.partition(distances_NC, 1, axis=1)[:, :2]
    return 1 - nearest_N2[:, 0] / np.maximum(nearest_N2[:, 1], np.finfo(np.float32).tiny)
