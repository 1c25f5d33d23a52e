import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import meanshift
from detaux.discover.clusterers.meanshift import cluster_meanshift


def make_blobs(size=80, seed=0):
    truth = np.repeat(np.arange(3), size)
    points = 20 * np.eye(3)[truth] + np.random.default_rng(seed).normal(size=(3 * size, 3))
    return torch.from_numpy(points.astype(np.float32)), truth


def test_meanshift_clusters_match_blobs():
    points, truth = make_blobs()
    found = cluster_meanshift(points, DiscoverConfig(bandwidth_quantile=0.3), 0)
    assert adjusted_rand_score(truth, found.labels) == 1.0
    assert found.labels.min() == 0


def test_meanshift_labels_points_outside_its_sample(monkeypatch):
    monkeypatch.setattr(meanshift, "MOST_POINTS", 60)
    points, truth = make_blobs()
    found = cluster_meanshift(points, DiscoverConfig(bandwidth_quantile=0.3), 0)
    assert adjusted_rand_score(truth, found.labels) == 1.0


def test_meanshift_clusters_coinciding_points():
    points = torch.tensor([[0.0, 0.0], [5.0, 5.0]]).repeat_interleave(40, 0)
    found = cluster_meanshift(points, DiscoverConfig(bandwidth_quantile=0.1), 0)
    assert adjusted_rand_score(np.repeat([0, 1], 40), found.labels) == 1.0


def test_meanshift_seeds_from_the_points_where_no_grid_corner_is_near_one():
    points = torch.randn(60, 16, generator=torch.Generator().manual_seed(0))
    found = cluster_meanshift(points, DiscoverConfig(bandwidth_quantile=0.0), 0)
    assert found.labels.min() == 0
