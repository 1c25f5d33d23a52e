"""Run k-means by scikit-learn, with random or k-means++ starts, and keep the best of ten."""

from functools import partial

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment
from detaux.discover.clusterers.centres import assign_to_centres, count_centres

STARTS = 10


def cluster_kmeans(points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment:
    """Find `discover.clusters` clusters from random starts."""
    return _fit(points_ND, config, seed, "random")


def cluster_kmeans_plus_plus(points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment:
    """Find `discover.clusters` clusters from k-means++ starts (Arthur and Vassilvitskii 2007)."""
    return _fit(points_ND, config, seed, "k-means++")


def _fit(points_ND: Tensor, config: DiscoverConfig, seed: int, start: str) -> Assignment:
    points_ND = points_ND.cpu()
    model = KMeans(count_centres(points_ND, config), init=start, n_init=STARTS, random_state=seed)
    labels = model.fit_predict(points_ND.numpy())
    predict = partial(assign_to_centres, centres_CD=torch.from_numpy(model.cluster_centers_))
    return Assignment(labels, predict(points_ND)[1], f"scikit-learn KMeans, {start}", predict)
