"""Cluster a seeded sample of the points, and let it predict the rest."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from detaux.discover.clusterers import Assignment


def draw_rows(samples: int, count: int, seed: int) -> np.ndarray:
    """Draw `count` distinct rows in ascending order. The host draws them, so they are the same for every device."""
    return np.sort(np.random.default_rng(seed).permutation(samples)[:count])


def cluster_some(points_ND: Tensor, count: int, cluster: Callable[[Tensor], Assignment], seed: int) -> Assignment:
    """Cluster `count` of the points, and predict the others if there are any."""
    if count == len(points_ND):
        return cluster(points_ND)
    chosen = draw_rows(len(points_ND), count, seed)
    others = np.delete(np.arange(len(points_ND)), chosen)
    found = cluster(points_ND[torch.from_numpy(chosen)])
    labels, probability = np.empty(len(points_ND), np.int64), np.empty(len(points_ND))
    labels[chosen], probability[chosen] = found.labels, found.probability
    labels[others], probability[others] = found.predict(points_ND[torch.from_numpy(others)])
    return found._replace(labels=labels, probability=probability)
