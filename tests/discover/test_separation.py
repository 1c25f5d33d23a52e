import numpy as np
import pytest

from detaux.discover.cluster import Clusters
from detaux.discover.separation import compute_separation, compute_silhouette


def label(values):
    return Clusters(np.asarray(values), np.ones(len(values), np.float32), "by hand")


def test_silhouette_prefers_compact_clusters(make_blobs):
    tight, wide = (make_blobs(spread=spread) for spread in (0.3, 4.0))
    values = [compute_silhouette(points, label(truth), 0) for points, truth in (tight, wide)]
    assert values[0] > 0.9 > values[1]


def test_silhouette_leaves_noise_out(make_blobs):
    points, truth = make_blobs(noise=100)
    without = compute_silhouette(points[truth >= 0], label(truth[truth >= 0]), 0)
    assert compute_silhouette(points, label(truth), 0) == pytest.approx(without, abs=1e-6)


@pytest.mark.parametrize("labels", [[0] * 10, [-1] * 10, list(range(10))])
def test_silhouette_without_two_clusters_is_zero(labels):
    points = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
    assert compute_silhouette(points, label(labels), 0) == 0.0


def test_separation_matches_its_definition():
    clusters = label([0, 1, 2, -1])
    assert compute_separation(0.8, clusters) == pytest.approx(0.8 * np.log(3) * 0.75)
    assert compute_separation(0.8, label([0, 0])) == 0.0
    assert compute_separation(0.8, label([-1, -1])) == 0.0
