import numpy as np
import pytest
import torch
from hdbscan import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers.hdbscan import cluster_hdbscan


def make_ring_and_core(seed=0):
    random = np.random.default_rng(seed)
    angle = random.uniform(0, 2 * np.pi, 300)
    ring = 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.concatenate([ring, np.zeros((200, 2))]) + random.normal(size=(500, 2)) * 0.3
    return torch.from_numpy(points.astype(np.float32)), np.repeat([0, 1], [300, 200])


def test_hdbscan_clusters_match_shapes_no_centre_describes():
    points, truth = make_ring_and_core()
    assert adjusted_rand_score(truth, cluster_hdbscan(points, DiscoverConfig(), 0).labels) > 0.99


def test_hdbscan_smallest_cluster_follows_fraction():
    points, _ = make_ring_and_core()
    found = cluster_hdbscan(points, DiscoverConfig(min_cluster_fraction=0.5), 0)
    assert found.labels.max() < 1


def test_hdbscan_min_samples_changes_noise():
    points, _ = make_ring_and_core()
    points = torch.cat([points, 30 * torch.rand(60, 2, generator=torch.Generator().manual_seed(1)) - 15])
    configs = [DiscoverConfig(min_samples=count, min_cluster_fraction=0.1) for count in (2, 40)]
    shares = [(cluster_hdbscan(points, config, 0).labels < 0).mean() for config in configs]
    assert shares[0] != shares[1]


@pytest.mark.parametrize("count", [0, 50, 1000])
def test_hdbscan_min_samples_is_at_most_the_smallest_cluster(count):
    points, _ = make_ring_and_core()
    wanted = HDBSCAN(50, min_samples=50).fit_predict(points)
    found = cluster_hdbscan(points, DiscoverConfig(min_samples=count, min_cluster_fraction=0.1), 0)
    np.testing.assert_array_equal(found.labels, wanted)


@pytest.mark.parametrize("copies", [1, 3])
def test_hdbscan_min_samples_does_not_grow_with_the_data(copies):
    """64 neighbours by default, though the smallest cluster has 150 or 450 points."""
    points = torch.cat([make_ring_and_core(seed)[0] for seed in range(copies)])
    found = cluster_hdbscan(points, DiscoverConfig(min_cluster_fraction=0.3), 0)
    wanted = HDBSCAN(150 * copies, min_samples=64)
    np.testing.assert_array_equal(found.labels, wanted.fit_predict(points))
    np.testing.assert_allclose(found.probability, wanted.probabilities_)


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_hdbscan_takes_fewer_points_than_it_asks_for(samples):
    points = torch.randn(samples, 3)
    found = cluster_hdbscan(points, DiscoverConfig(min_samples=100, min_cluster_fraction=1.0), 0)
    assert found.labels.shape == found.probability.shape == (samples,)
