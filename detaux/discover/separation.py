"""How compact, many and complete clusters are at once: the default choice rule, and the judge of merges.

N points, D size of a point.
"""

import numpy as np
from sklearn.metrics import silhouette_score

from detaux.discover.cluster import Clusters

MOST_POINTS = 2000  # of a seeded subsample, where a score costs its square


def compute_silhouette(points_ND: np.ndarray, clusters: Clusters, seed: int) -> float:
    """Mean silhouette (Rousseeuw 1987) of at most MOST_POINTS points that are no noise, 0 with less than two clusters."""
    random = np.random.default_rng(seed)
    chosen = random.permutation(np.flatnonzero(clusters.labels >= 0))[:MOST_POINTS]
    labels = clusters.labels[chosen]
    if not 2 <= len(np.unique(labels)) < len(labels):
        return 0.0
    return float(silhouette_score(points_ND[chosen], labels))


def compute_separation(silhouette: float, clusters: Clusters) -> float:
    """Silhouette x ln(clusters) x (1 - noise share): compact, many and complete at once."""
    return silhouette * float(np.log(max(1, clusters.count))) * (1 - clusters.noise_share)
