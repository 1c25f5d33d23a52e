"""HDBSCAN with excess-of-mass selection: clusters of any shape and number, the rest noise."""

import numpy as np
from sklearn.cluster import HDBSCAN

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment


def cluster_hdbscan(points_ND: np.ndarray, config: DiscoverConfig, seed: int) -> Assignment:
    """Clusters of at least `discover.min_cluster_fraction` of the points; `seed` is unused, nothing is drawn."""
    samples = len(points_ND)
    smallest = min(samples, max(2, round(config.min_cluster_fraction * samples)))
    neighbours = min(config.min_samples, samples) or None
    model = HDBSCAN(smallest, min_samples=neighbours, copy=True)
    labels = model.fit_predict(points_ND)
    return Assignment(labels, model.probabilities_, "scikit-learn HDBSCAN")
