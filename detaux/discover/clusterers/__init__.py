"""Clustering algorithms, one file for each family and backend; detaux/discover/backends.py says which there are."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from detaux.config.schema import DiscoverConfig

Predict = Callable[[Tensor], tuple[np.ndarray, np.ndarray]]


class Assignment(NamedTuple):
    """labels int [N], -1 is an outlier; probability float [N] in [0, 1], how surely a point belongs to its cluster.

    predict gives those of new points [M, D] on the same device, without changing a cluster.
    """

    labels: np.ndarray
    probability: np.ndarray
    backend: str
    predict: Predict


class Clusterer(Protocol):
    """Clusters of points float32 [N, D], finite and contiguous, on any device; the same seed gives the same ones.

    Labels and probabilities are on the host; points never leave their device, unless the backend is `cpu`.
    """

    def __call__(self, points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment: ...


def choose_sizes(samples: int, config: DiscoverConfig) -> tuple[int, int]:
    """HDBSCAN's smallest cluster, `discover.min_cluster_fraction` of the samples and no fewer than
    `discover.min_cluster_size`, and the neighbours that make a core point,
    `discover.min_samples` of them, at most as many as the smallest cluster has points.

    Taken equal to the smallest cluster, as the algorithm's authors have it by default, that number grows with the data: at
    200,000 points a search for 4,000 neighbours each needs more than 12 GiB, and more points become outliers
    (benchmarks/LOG.md).
    """
    smallest = min(samples, max(config.min_cluster_size, round(config.min_cluster_fraction * samples)))
    return smallest, min(config.min_samples or smallest, smallest)
