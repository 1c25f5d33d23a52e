"""Cluster points by the algorithm the config names; the result does not depend on how the algorithm numbers clusters."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment

Clusterer = Callable[[np.ndarray, DiscoverConfig, int], Assignment]

CLUSTERERS = {  # discover.clusterer -> discover.backend -> function; what has no such backend runs on "cpu"
    "hdbscan": {
        "cpu": "detaux.discover.clusterers.hdbscan:cluster_hdbscan",
        "torch": "detaux.discover.clusterers.torch_hdbscan:cluster_torch_hdbscan",
    },
    "kmeans": {"cpu": "detaux.discover.clusterers.kmeans:cluster_kmeans"},
    "kmeans++": {"cpu": "detaux.discover.clusterers.kmeans:cluster_kmeans_plus_plus"},
    "meanshift": {"cpu": "detaux.discover.clusterers.meanshift:cluster_meanshift"},
}


@dataclass(frozen=True)
class Clusters:
    """labels int64 [N]: 0 is the largest cluster, -1 noise; probability float32 [N], 0 for noise."""

    labels: np.ndarray
    probability: np.ndarray
    backend: str
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """Clusters, noise not counted."""
        return int(self.labels.max()) + 1

    @property
    def noise_share(self) -> float:
        return float((self.labels < 0).mean())

    @property
    def class_labels(self) -> np.ndarray:
        """Labels [N] with noise as a class of its own, above all clusters."""
        return np.where(self.labels < 0, self.count, self.labels)


def renumber(labels: np.ndarray) -> np.ndarray:
    """Labels int64 [N] with clusters numbered from the largest on, equals by their first point; -1 stays noise."""
    values, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    is_cluster = values >= 0
    order = np.lexsort((first, -counts))
    order = order[is_cluster[order]]
    numbers = np.full(len(values), -1)
    numbers[order] = np.arange(len(order))
    return numbers[inverse]


def load_clusterer(name: str, backend: str = "cpu") -> Clusterer:
    """The clusterer behind values of `discover.clusterer` and `discover.backend`; its library is imported only now."""
    backends = CLUSTERERS[name]
    module, function = backends.get(backend, backends["cpu"]).split(":")
    return getattr(import_module(module), function)


def cluster_points(points_ND: np.ndarray, config: DiscoverConfig, seed: int, clusterer: str | None = None) -> Clusters:
    """Cluster points [N, D] by `discover.clusterer`, or by the one given. The same seed gives the same clusters.

    Points that all coincide are one cluster, whatever the algorithm.
    """
    begun = time.perf_counter()
    points_ND = np.ascontiguousarray(points_ND, dtype=np.float32)
    if len(points_ND) < 2 or not np.ptp(points_ND, axis=0).any():
        found = Assignment(np.zeros(len(points_ND), np.int64), np.ones(len(points_ND)), "none: all points coincide")
    else:
        found = load_clusterer(clusterer or config.clusterer, config.backend)(points_ND, config, seed)
    labels = renumber(found.labels)
    probability = np.where(labels < 0, 0.0, found.probability).astype(np.float32)
    return Clusters(labels, probability, found.backend, time.perf_counter() - begun)
