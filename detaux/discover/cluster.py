"""Cluster points by the algorithm the config names; the result does not depend on how the algorithm numbers clusters."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.backends import load_clusterer, select_backend
from detaux.discover.clusterers import Assignment
from detaux.discover.clusterers.distances import find_nearest
from detaux.discover.plan import Cost, Meter, draw_rows, plan_clustering


@dataclass(frozen=True)
class Clusters:
    """labels int64 [N]: 0 is the largest cluster, -1 noise; probability float32 [N], 0 for noise; cost, where it was planned."""

    labels: np.ndarray
    probability: np.ndarray
    backend: str
    seconds: float = 0.0
    cost: Cost | None = None

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


def complete_labels(points_ND: Tensor, labels_N: np.ndarray) -> np.ndarray:
    """Labels [N] in which a point without one (-1) takes that of the nearest point with one, as long as there is any."""
    is_known = labels_N >= 0
    if is_known.all() or not is_known.any():
        return labels_N
    known, unknown = (torch.from_numpy(np.flatnonzero(rows)) for rows in (is_known, ~is_known))
    nearest = find_nearest(points_ND[unknown], points_ND[known]).cpu().numpy()
    labels_N = labels_N.copy()
    labels_N[~is_known] = labels_N[is_known][nearest]
    return labels_N


def cluster_points(points_ND: Tensor, config: DiscoverConfig, seed: int, clusterer: str | None = None) -> Clusters:
    """Cluster points [N, D] by `discover.clusterer`, or by the one given, on their device. The same seed gives the same
    clusters.

    Points that all coincide are one cluster, and points that are not finite are noise, whatever the algorithm. Where the plan
    exceeds a limit, a seeded subsample is clustered and predicts the rest. Other noise may join a cluster (`discover.noise`); its
    probability stays 0.
    """
    begun = time.perf_counter()
    points_ND = points_ND.detach().float().contiguous()
    is_finite = points_ND.isfinite().all(1)
    if is_finite.all():
        found, cost = _cluster_finite(points_ND, config, seed, clusterer or config.clusterer)
        labels, probability = found.labels, found.probability
    else:
        found, cost = _cluster_finite(points_ND[is_finite], config, seed, clusterer or config.clusterer)
        rows = is_finite.cpu().numpy()
        labels, probability = np.full(len(rows), -1), np.zeros(len(rows))
        labels[rows], probability[rows] = found.labels, found.probability
    probability = np.where(labels < 0, 0.0, probability).astype(np.float32)
    if config.noise == "nearest":
        labels = np.full(len(labels), -1)
        labels[is_finite.cpu().numpy()] = complete_labels(points_ND[is_finite], found.labels)
    return Clusters(renumber(labels), probability, found.backend, time.perf_counter() - begun, cost)


def _cluster_finite(
    points_ND: Tensor, config: DiscoverConfig, seed: int, clusterer: str
) -> tuple[Assignment, Cost | None]:
    if len(points_ND) < 2 or (points_ND == points_ND[0]).all():
        return _join_all(points_ND), None
    backend = select_backend(config.backend, clusterer, points_ND.device).name
    cluster = partial(load_clusterer(clusterer, backend), config=config, seed=seed)
    plan = plan_clustering(points_ND, cluster, clusterer, backend, config, seed)
    if plan is None:
        return cluster(points_ND), None
    meter = Meter(plan, points_ND.device)
    found = cluster(points_ND) if plan.is_whole else _cluster_some(points_ND, plan.clustered, cluster, seed)
    return found, meter.finish()


def _cluster_some(points_ND: Tensor, count: int, cluster: Callable[[Tensor], Assignment], seed: int) -> Assignment:
    chosen = draw_rows(len(points_ND), count, seed)
    others = np.delete(np.arange(len(points_ND)), chosen)
    found = cluster(points_ND[torch.from_numpy(chosen)])
    labels, probability = np.empty(len(points_ND), np.int64), np.empty(len(points_ND))
    labels[chosen], probability[chosen] = found.labels, found.probability
    labels[others], probability[others] = found.predict(points_ND[torch.from_numpy(others)])
    return found._replace(labels=labels, probability=probability)


def _join_all(points_ND: Tensor) -> Assignment:
    def predict(new_MD: Tensor) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(len(new_MD), np.int64), np.ones(len(new_MD))

    return Assignment(*predict(points_ND), "none: all points coincide", predict)
