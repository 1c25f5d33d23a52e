import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers.hdbscan import cluster_hdbscan


def make_ring_and_core(seed=0):
    random = np.random.default_rng(seed)
    angle = random.uniform(0, 2 * np.pi, 300)
    ring = 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.concatenate([ring, np.zeros((200, 2))]) + random.normal(size=(500, 2)) * 0.3
    return points.astype(np.float32), np.repeat([0, 1], [300, 200])


def test_hdbscan_clusters_match_shapes_no_centre_describes():
    points, truth = make_ring_and_core()
    assert adjusted_rand_score(truth, cluster_hdbscan(points, DiscoverConfig(), 0).labels) > 0.99


def test_hdbscan_smallest_cluster_follows_fraction():
    points, _ = make_ring_and_core()
    found = cluster_hdbscan(points, DiscoverConfig(min_cluster_fraction=0.5), 0)
    assert found.labels.max() < 1


def test_hdbscan_min_samples_changes_noise():
    points, _ = make_ring_and_core()
    points = np.concatenate([points, np.random.default_rng(1).uniform(-15, 15, (60, 2)).astype(np.float32)])
    shares = [(cluster_hdbscan(points, DiscoverConfig(min_samples=count), 0).labels < 0).mean() for count in (2, 40)]
    assert shares[0] != shares[1]


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_hdbscan_takes_fewer_points_than_it_asks_for(samples):
    points = np.random.default_rng(0).normal(size=(samples, 3)).astype(np.float32)
    found = cluster_hdbscan(points, DiscoverConfig(min_samples=100, min_cluster_fraction=1.0), 0)
    assert found.labels.shape == found.probability.shape == (samples,)
