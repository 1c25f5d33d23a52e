import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances

from detaux.discover.clusterers import distances
from detaux.discover.clusterers.distances import find_nearest, measure


def test_distances_far_from_the_origin_do_not_cancel():
    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) + 1000
    np.testing.assert_allclose(measure(points, points), pairwise_distances(points.double()), atol=1e-6)


@pytest.mark.parametrize("tile", [1, 100, 10**6])
def test_nearest_is_that_of_all_distances(monkeypatch, tile):
    monkeypatch.setattr(distances, "TILE", tile)
    points, others = (torch.randn(rows, 3, generator=torch.Generator().manual_seed(rows)) for rows in (25, 40))
    np.testing.assert_array_equal(find_nearest(points, others), pairwise_distances(points, others).argmin(1))
