"""Cluster points by the algorithm that the config names, and number the clusters in one way for all algorithms."""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.backends import load_clusterer, select_backend
from detaux.discover.clusterers.distances import find_nearest
from detaux.discover.clusterers.limit import Limit, hold_limit
from detaux.discover.helper import cluster_in_helper
from detaux.discover.plan import Cost, CostMeter, format_seconds, plan_clustering
from detaux.discover.subsample import cluster_some
from detaux.errors import UserError
from detaux.runtime.progress import say

# up to this power of two of the points' median length, their squares are far from the limits of float32
USUAL_EXPONENT = 30
FARTHEST = 1e15  # a point with a larger coordinate is an outlier


@dataclass(frozen=True)
class Clusters:
    """Hold labels int64 [N] (0 is the largest cluster, -1 an outlier) and probability float32 [N], 0 for an outlier.

    `cost` is None if the clustering was not planned.
    """

    labels: np.ndarray
    probability: np.ndarray
    backend: str
    seconds: float = 0.0
    cost: Cost | None = None

    @property
    def count(self) -> int:
        """Return the number of clusters."""
        return int(self.labels.max()) + 1

    @property
    def outlier_fraction(self) -> float:
        """Return the fraction of points that are outliers."""
        return float((self.labels < 0).mean())

    @property
    def class_labels(self) -> np.ndarray:
        """Return labels [N] with the outliers as a class of their own, above all clusters."""
        return np.where(self.labels < 0, self.count, self.labels)


def renumber(labels: np.ndarray) -> np.ndarray:
    """Number clusters from the largest to the smallest, equal ones by their first point: labels int64 [N]; -1 stays."""
    values, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    is_cluster = values >= 0
    order = np.lexsort((first, -counts))
    order = order[is_cluster[order]]
    numbers = np.full(len(values), -1)
    numbers[order] = np.arange(len(order))
    return numbers[inverse]


def complete_labels(points_ND: Tensor, labels_N: np.ndarray) -> np.ndarray:
    """Return labels [N] in which each point without a label (-1) takes the label of the nearest labelled point.

    If no point has a label, nothing changes.
    """
    is_known = labels_N >= 0
    if is_known.all() or not is_known.any():
        return labels_N
    known, unknown = (torch.from_numpy(np.flatnonzero(rows)) for rows in (is_known, ~is_known))
    nearest = find_nearest(points_ND[unknown], points_ND[known]).cpu().numpy()
    labels_N = labels_N.copy()
    labels_N[~is_known] = labels_N[is_known][nearest]
    return labels_N


def rescale(points_ND: Tensor) -> Tensor:
    """Multiply points by a power of two if float32 cannot safely hold the square of their median length.

    This multiplies all distances by that factor. Other points are returned as they are.
    """
    length_N = points_ND.abs().amax(1)
    length_N = length_N[length_N.isfinite() & (length_N > 0)]
    exponent = int(torch.frexp(length_N.median()).exponent) if len(length_N) else 0
    if abs(exponent) <= USUAL_EXPONENT:
        return points_ND
    return torch.ldexp(points_ND.double(), torch.tensor(-exponent)).float()


def cluster_points(points_ND: Tensor, config: DiscoverConfig, seed: int, clusterer: str | None = None) -> Clusters:
    """Cluster points [N, D] on their device by `discover.clusterer`, or by `clusterer` if it is given.

    The same seed gives the same clusters. If all points coincide, they are one cluster. A point is an outlier if it is
    not finite, or so far from the others that it may count as infinite. This holds for every algorithm and every unit
    of the points. If the plan exceeds a limit, a seeded subsample is clustered and predicts the rest. Other outliers
    may join a cluster (`discover.outliers`); their probability stays 0.
    """
    begun = time.perf_counter()
    points_ND = rescale(points_ND.detach().float()).contiguous()
    is_finite = (points_ND.abs() <= FARTHEST).all(1)  # False for NaN
    rows = is_finite.cpu().numpy()
    labels, probability = np.full(len(rows), -1), np.zeros(len(rows))
    finite_ND = points_ND if rows.all() else points_ND[is_finite]
    found, cost = _cluster_finite(finite_ND, config, seed, clusterer or config.clusterer)
    labels[rows], probability[rows], backend = found
    probability = np.where(labels < 0, 0.0, probability).astype(np.float32)
    if config.outliers == "nearest":
        labels[rows] = complete_labels(finite_ND, labels[rows])
    return Clusters(renumber(labels), probability, backend, time.perf_counter() - begun, cost)


def _cluster_finite(
    points_ND: Tensor, config: DiscoverConfig, seed: int, clusterer: str
) -> tuple[tuple[np.ndarray, np.ndarray, str], Cost | None]:
    """Return (labels [N], probability [N], the backend in words), and the cost, or None if it was not planned."""
    if len(points_ND) < 2 or (points_ND == points_ND[0]).all():
        return (np.zeros(len(points_ND), np.int64), np.ones(len(points_ND)), "none: all points coincide"), None
    backend = select_backend(config.backend, clusterer, points_ND.device).name
    cluster = partial(load_clusterer(clusterer, backend), config=config, seed=seed)
    plan = plan_clustering(points_ND, cluster, clusterer, backend, config, seed)
    if plan is None:
        return cluster(points_ND)[:3], None
    meter = CostMeter(plan, points_ND.device)
    limit = Limit(config.max_seconds, lambda seconds: say(f"discover: {plan.describe_progress(seconds)}."))
    try:
        if backend == "cpu":
            answer = cluster_in_helper(points_ND.cpu(), plan.clustered, clusterer, config, seed, limit)
            return answer[:3], meter.finish(limit.measure(), answer[3])
        with hold_limit(limit):
            return cluster_some(points_ND, plan.clustered, cluster, seed)[:3], meter.finish(limit.measure())
    except TimeoutError:
        raise UserError(
            f"clustering {plan.samples} x {plan.dims} points by {clusterer} took longer than discover.max_seconds="
            f"{config.max_seconds:g} (planned: {format_seconds(plan.seconds)}); raise it."
        ) from None
