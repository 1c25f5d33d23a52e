"""HDBSCAN by the library of that name: clusters of any shape and number, the rest noise."""

import numpy as np
from hdbscan import HDBSCAN

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment, choose_sizes


def cluster_hdbscan(points_ND: np.ndarray, config: DiscoverConfig, seed: int) -> Assignment:
    """Clusters by choose_sizes; `seed` is unused, nothing is drawn."""
    smallest, neighbours = choose_sizes(len(points_ND), config)
    model = HDBSCAN(
        smallest,
        min_samples=neighbours,
        cluster_selection_method={"excess_of_mass": "eom", "leaf": "leaf"}[config.selection],
        core_dist_n_jobs=1,  # no processes besides the run's own
    )
    labels = model.fit_predict(points_ND)
    return Assignment(labels, model.probabilities_, "hdbscan")
