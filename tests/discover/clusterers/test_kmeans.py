import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers.kmeans import cluster_kmeans, cluster_kmeans_plus_plus


def make_line(seed=0):
    truth = np.repeat(np.arange(4), 50)
    points = 10 * truth[:, None] + np.random.default_rng(seed).normal(size=(200, 3))
    return torch.from_numpy(points.astype(np.float32)), truth


@pytest.mark.parametrize("cluster", [cluster_kmeans, cluster_kmeans_plus_plus])
def test_kmeans_clusters_match_blobs(cluster):
    points, truth = make_line()
    found = cluster(points, DiscoverConfig(clusters=4), 0)
    assert adjusted_rand_score(truth, found.labels) == 1.0


def test_kmeans_names_its_start():
    points, _ = make_line()
    backends = {
        cluster(points, DiscoverConfig(clusters=4), 0).backend for cluster in (cluster_kmeans, cluster_kmeans_plus_plus)
    }
    assert len(backends) == 2


def test_kmeans_finds_no_more_clusters_than_distinct_points():
    points = torch.eye(3).repeat_interleave(20, 0)
    assert len(np.unique(cluster_kmeans(points, DiscoverConfig(clusters=10), 0).labels)) == 3
