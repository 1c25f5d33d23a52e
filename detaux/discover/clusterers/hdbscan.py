"""Run HDBSCAN by the library of that name: it finds clusters of any shape and number, and outliers."""

import numpy as np
from hdbscan import HDBSCAN, approximate_predict
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment, choose_sizes

SELECTION_NAMES = {
    "excess_of_mass": "eom",
    "leaf": "leaf",
}  # discover.selection -> the name in this library and in cuML


def cluster_hdbscan(points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment:
    """Cluster by the sizes of choose_sizes. `seed` is unused, because nothing is drawn."""
    smallest, neighbours = choose_sizes(len(points_ND), config)
    model = HDBSCAN(
        smallest,
        min_samples=neighbours,
        cluster_selection_method=SELECTION_NAMES[config.selection],
        core_dist_n_jobs=1,  # no processes besides the run's own
    )
    labels = model.fit_predict(points_ND.cpu().numpy())

    def predict(new_MD: Tensor) -> tuple[np.ndarray, np.ndarray]:
        if (labels < 0).all():  # the library's own function would raise an error
            return np.full(len(new_MD), -1), np.zeros(len(new_MD))
        if not hasattr(model, "prediction_data_"):
            model.generate_prediction_data()
        return approximate_predict(model, new_MD.cpu().numpy())

    return Assignment(labels, model.probabilities_, "hdbscan", predict)
