"""Provide the clustering algorithms, one file for each family and backend. detaux/discover/backends.py lists them."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from detaux.config.schema import DiscoverConfig

Predict = Callable[[Tensor], tuple[np.ndarray, np.ndarray]]


class Assignment(NamedTuple):
    """Hold labels int [N], -1 for an outlier, and probability float [N] in [0, 1].

    The probability says how surely a point belongs to its cluster. predict gives both for new points [M, D] on the same
    device, without changing a cluster.
    """

    labels: np.ndarray
    probability: np.ndarray
    backend: str
    predict: Predict


class Clusterer(Protocol):
    """Cluster points float32 [N, D], finite and contiguous, on any device. The same seed gives the same clusters.

    Labels and probabilities are on the host. Points never leave their device, unless the backend is `cpu`.
    """

    def __call__(self, points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment: ...


def choose_sizes(samples: int, config: DiscoverConfig) -> tuple[int, int]:
    """Return the size of HDBSCAN's smallest cluster and the number of neighbours that make a core point.

    The smallest cluster has `discover.min_cluster_fraction` of the samples, but at least `discover.min_cluster_size`
    points. The neighbours are `discover.min_samples`, but at most the size of the smallest cluster. The authors of the
    algorithm take both equal by default, so their number of neighbours grows with the data: at 200,000 points a search
    for 4,000 neighbours each needs more than 12 GiB, and more points become outliers (benchmarks/LOG.md).
    """
    smallest = min(samples, max(config.min_cluster_size, round(config.min_cluster_fraction * samples)))
    return smallest, min(config.min_samples or smallest, smallest)
