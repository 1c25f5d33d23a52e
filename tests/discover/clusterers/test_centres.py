import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import distances
from detaux.discover.clusterers.centres import assign_to_centres, compute_margin, count_centres


def test_margin_is_one_at_a_centre_and_zero_at_the_border():
    margin = compute_margin(torch.tensor([[0.0, 4.0, 9.0], [3.0, 3.0, 5.0], [1.0, 8.0, 2.0]]))
    np.testing.assert_allclose(margin, [1.0, 0.0, 0.5])


def test_margin_of_a_single_centre_is_one():
    np.testing.assert_array_equal(compute_margin(torch.tensor([[3.0], [0.0]])), [1.0, 1.0])


@pytest.mark.parametrize("tile", [1, 8, 1000])
def test_points_go_to_the_centre_that_all_distances_say(monkeypatch, tile):
    monkeypatch.setattr(distances, "TILE", tile)
    points, centres = (torch.from_numpy(np.random.default_rng(seed).normal(size=(30, 4))) for seed in (0, 1))
    labels, margin = assign_to_centres(points, centres[:5])
    expected = np.sort(pairwise_distances(points, centres[:5]), axis=1)
    np.testing.assert_array_equal(labels, pairwise_distances(points, centres[:5]).argmin(1))
    np.testing.assert_allclose(margin, 1 - expected[:, 0] / expected[:, 1])


def test_there_are_no_more_centres_than_distinct_points():
    points = torch.tensor([[0.0, 1.0], [0.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    assert [count_centres(points, DiscoverConfig(clusters=clusters)) for clusters in (2, 9)] == [2, 3]
