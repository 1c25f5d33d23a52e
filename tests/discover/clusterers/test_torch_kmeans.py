import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import distances, torch_kmeans
from detaux.discover.clusterers.torch_kmeans import (
    cluster_torch_kmeans,
    cluster_torch_kmeans_plus_plus,
    draw_spread_starts,
)

both = pytest.mark.parametrize("cluster", [cluster_torch_kmeans, cluster_torch_kmeans_plus_plus])


def draw_points(samples=600, seed=0):
    random = np.random.default_rng(seed)
    centres = random.uniform(-4, 4, (8, 3))
    return torch.from_numpy((centres[random.integers(8, size=samples)] + random.normal(size=(samples, 3))).astype("f4"))


def measure_inertia(points, labels):
    return sum(((points[labels == label] - points[labels == label].mean(0)) ** 2).sum() for label in np.unique(labels))


@both
@pytest.mark.parametrize("seed", range(4))
def test_best_start_is_as_good_as_that_of_scikit_learn(cluster, seed):
    points = draw_points(seed=seed)
    found = cluster(points, DiscoverConfig(clusters=8), seed)
    best = KMeans(8, init="random", n_init=50, random_state=0).fit(points.numpy())
    assert measure_inertia(points.numpy(), found.labels) <= 1.02 * best.inertia_
    assert len(np.unique(found.labels)) == 8


@both
def test_each_centre_is_the_mean_of_its_points_and_each_point_at_its_nearest(cluster):
    points = draw_points()
    labels = cluster(points, DiscoverConfig(clusters=5), 0).labels
    means = np.stack([points.numpy()[labels == label].mean(0) for label in range(5)])
    np.testing.assert_array_equal(pairwise_distances(points, means).argmin(1), labels)


@both
def test_tiles_change_nothing(cluster, monkeypatch):
    points = draw_points()
    whole = cluster(points, DiscoverConfig(clusters=6), 0)
    monkeypatch.setattr(distances, "TILE", 700)
    monkeypatch.setattr(torch_kmeans, "TILE", 700)
    np.testing.assert_array_equal(cluster(points, DiscoverConfig(clusters=6), 0).labels, whole.labels)


def test_centre_without_points_moves_to_the_farthest_one():
    points = torch.tensor([[0.0], [1.0], [10.0], [40.0]])
    centres = torch.tensor([[[0.5], [100.0], [200.0]]])
    nearest, squared = torch_kmeans._find_centres(points, centres)
    moved = torch_kmeans._move_centres(points, centres, nearest, squared)
    np.testing.assert_allclose(moved[0, :, 0], [12.75, 40.0, 10.0])


def test_spread_starts_follow_the_squared_distances():
    """The second centre: of points at 0, 1 and 3, after 0, the last is drawn with 9 of 10 draws."""
    points = torch.tensor([[0.0], [1.0], [3.0]])
    draws = torch.stack([torch.zeros(1000), torch.linspace(0, 0.999, 1000)]).double()
    starts = draw_spread_starts(points, draws)[:, :, 0]
    assert (starts[:, 0] == 0).all()
    values, counts = starts[:, 1].unique(return_counts=True)
    assert values.tolist() == [1, 3]
    assert counts.tolist() == pytest.approx([100, 900], abs=2)


def test_spread_starts_never_repeat_a_point():
    points = torch.arange(6.0)[:, None].repeat(3, 1)
    starts = draw_spread_starts(points, torch.rand(6, 50, generator=torch.Generator().manual_seed(0)).double())
    assert all(sorted(start.flatten().tolist()) == list(range(6)) for start in starts)
