"""Clustering algorithms, one file a family; each is a function (points [N, D], DiscoverConfig, seed) -> Assignment."""

from typing import NamedTuple

import numpy as np

from detaux.config.schema import DiscoverConfig


class Assignment(NamedTuple):
    """labels int [N], -1 is noise; probability float [N] in [0, 1], how surely a point belongs to its cluster."""

    labels: np.ndarray
    probability: np.ndarray
    backend: str


def choose_sizes(samples: int, config: DiscoverConfig) -> tuple[int, int]:
    """HDBSCAN's smallest cluster, `discover.min_cluster_fraction` of the samples, and the neighbours that make a core point,
    `discover.min_samples` of them, at most as many as the smallest cluster has points.

    Taken equal to the smallest cluster, as the algorithm's authors have it by default, that number grows with the data: at
    200,000 points a search for 4,000 neighbours each needs more than 12 GiB, and more points become noise
    (benchmarks/LOG.md).
    """
    smallest = min(samples, max(2, round(config.min_cluster_fraction * samples)))
    return smallest, min(config.min_samples or smallest, smallest)
