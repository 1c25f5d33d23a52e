import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers.kmeans import cluster_kmeans, cluster_kmeans_plus_plus, compute_margin


def make_line(seed=0):
    truth = np.repeat(np.arange(4), 50)
    return (10 * truth[:, None] + np.random.default_rng(seed).normal(size=(200, 3))).astype(np.float32), truth


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
    points = np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)
    assert len(np.unique(cluster_kmeans(points, DiscoverConfig(clusters=10), 0).labels)) == 3


def test_margin_is_one_at_a_centre_and_zero_at_the_border():
    margin = compute_margin(np.array([[0.0, 4.0, 9.0], [3.0, 3.0, 5.0], [1.0, 8.0, 2.0]]))
    np.testing.assert_allclose(margin, [1.0, 0.0, 0.5])


def test_margin_of_a_single_centre_is_one():
    np.testing.assert_array_equal(compute_margin(np.array([[3.0], [0.0]])), [1.0, 1.0])
