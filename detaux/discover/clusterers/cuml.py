"""Run HDBSCAN and k-means of NVIDIA's cuML on the GPU's own memory: torch -> DLPack -> CuPy -> cuML -> CuPy -> torch.

The code follows the signatures of cuML 26.10.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import cupy
import numpy as np
import torch
from cuml.cluster import KMeans
from cuml.cluster.hdbscan import HDBSCAN, approximate_predict
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment, choose_sizes
from detaux.discover.clusterers.centres import assign_to_centres, count_centres
from detaux.discover.clusterers.hdbscan import SELECTION_NAMES
from detaux.runtime.progress import say

MOST_NEIGHBOURS = 1023  # cuML refuses more
STARTS = 10


def cluster_cuml_hdbscan(points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment:
    """Cluster by the sizes of choose_sizes, with at most MOST_NEIGHBOURS neighbours. cuML takes no seed."""
    smallest, wanted = choose_sizes(len(points_ND), config)
    neighbours = min(
        wanted, MOST_NEIGHBOURS, len(points_ND) - 1
    )  # cuML needs one more, because it counts the point itself
    if wanted > MOST_NEIGHBOURS:
        say(
            f"discover: cuML takes at most {MOST_NEIGHBOURS} neighbours, not {wanted}; discover.backend=torch takes any."
        )
    model = HDBSCAN(
        min_cluster_size=smallest,
        min_samples=neighbours,
        cluster_selection_method=SELECTION_NAMES[config.selection],
        output_type="cupy",
    )
    # cuML's |a|^2 + |b|^2 - 2 ab cancels far from the origin
    origin_D = points_ND.mean(0)
    with _lend(points_ND - origin_D) as array:
        model.fit(array)
        labels, probability = _read(model.labels_), _read(model.probabilities_)

    def predict(new_MD: Tensor) -> tuple[np.ndarray, np.ndarray]:
        if (labels < 0).all():
            return np.full(len(new_MD), -1), np.zeros(len(new_MD))
        with _lend(new_MD - origin_D) as array:
            model.generate_prediction_data()
            found, surely = approximate_predict(model, array)
            return _read(found), _read(surely)

    return Assignment(labels, probability, "cuML HDBSCAN", predict)


def cluster_cuml_kmeans(points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment:
    """Find `discover.clusters` clusters from random starts, the best of ten."""
    return _fit_kmeans(points_ND, config, seed, "random")


def cluster_cuml_kmeans_plus_plus(points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment:
    """Find `discover.clusters` clusters from k-means++ starts, the best of ten."""
    return _fit_kmeans(points_ND, config, seed, "k-means++")


def _fit_kmeans(
    points_ND: Tensor, config: DiscoverConfig, seed: int, start: Literal["random", "k-means++"]
) -> Assignment:
    clusters = count_centres(points_ND, config)
    model = KMeans(n_clusters=clusters, init=start, n_init=STARTS, random_state=seed, output_type="cupy")
    origin_D = points_ND.mean(0)
    with _lend(points_ND - origin_D) as array:
        model.fit(array)
        centres_CD = torch.from_dlpack(model.cluster_centers_) + origin_D
    predict = partial(assign_to_centres, centres_CD=centres_CD)
    return Assignment(*predict(points_ND), f"cuML KMeans, {start}", predict)


def _read(array: cupy.ndarray) -> np.ndarray:
    return torch.from_dlpack(array).cpu().numpy()


@contextmanager
def _lend(points_ND: Tensor) -> Iterator[cupy.ndarray]:
    """Lend the points as a CuPy array on the same memory, float32 and row-major, as cuML requires."""
    torch.cuda.empty_cache()  # cuML allocates its own memory and cannot use what torch holds in reserve
    with cupy.cuda.Device(points_ND.get_device()):
        yield cupy.from_dlpack(points_ND.float().contiguous())
