import numpy as np
import pytest
import sklearn.cluster
import torch
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import meanshift
from detaux.discover.clusterers.torch_meanshift import cluster_torch_meanshift, estimate_bandwidth, find_modes


@pytest.mark.parametrize("quantile", [0.05, 0.3, 1.0])
def test_bandwidth_matches_scikit_learn(quantile, make_blobs):
    points, _ = make_blobs()
    expected = sklearn.cluster.estimate_bandwidth(points.numpy(), quantile=quantile)
    assert float(estimate_bandwidth(points, quantile)) == pytest.approx(expected, rel=1e-5)


def test_modes_match_scikit_learn_with_every_point_a_seed(make_blobs):
    points, _ = make_blobs(spread=1.5)
    bandwidth = estimate_bandwidth(points, 0.2)
    expected = sklearn.cluster.MeanShift(bandwidth=float(bandwidth)).fit(points.numpy())
    modes = find_modes(points, bandwidth).numpy()
    assert len(modes) == len(expected.cluster_centers_)
    away = np.linalg.norm(modes[:, None] - expected.cluster_centers_, axis=2).min(1)
    assert away.max() < 0.1 * float(bandwidth)


def test_points_outside_the_sample_are_labelled(monkeypatch, make_blobs):
    monkeypatch.setattr(meanshift, "MOST_POINTS", 60)
    points, truth = make_blobs()
    found = cluster_torch_meanshift(points, DiscoverConfig(bandwidth_quantile=0.3), 0)
    assert adjusted_rand_score(truth, found.labels) == 1.0


def test_points_most_of_which_coincide_have_a_bandwidth():
    points = torch.tensor([[0.0, 0.0], [5.0, 5.0]]).repeat_interleave(40, 0)
    assert float(estimate_bandwidth(points, 0.1)) > 0
    found = cluster_torch_meanshift(points, DiscoverConfig(bandwidth_quantile=0.1), 0)
    assert np.bincount(found.labels).tolist() == [40, 40]
