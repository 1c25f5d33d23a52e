from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig
from detaux.discover.cluster import CLUSTERERS, Clusters, cluster_points, load_clusterer, renumber

SETTINGS = DiscoverConfig(clusters=3, bandwidth_quantile=0.3)


@pytest.mark.parametrize("name", CLUSTERERS)
def test_every_clusterer_matches_blobs(name, make_blobs):
    points, truth = make_blobs()
    found = cluster_points(points, SETTINGS, 0, clusterer=name)
    assert adjusted_rand_score(truth, found.labels) > 0.99
    assert found.backend
    assert found.seconds > 0


@pytest.mark.parametrize("name", CLUSTERERS)
def test_clusters_are_numbered_by_size(name, make_blobs):
    points, _ = make_blobs(sizes=(80, 200, 140))
    counts = np.bincount(cluster_points(points, SETTINGS, 0, clusterer=name).labels + 1)[1:]
    assert counts.tolist() == [200, 140, 80]


@pytest.mark.parametrize("name", CLUSTERERS)
def test_clusters_repeat_with_the_seed(name, make_blobs):
    points, _ = make_blobs(noise=60)
    first, second = (cluster_points(points, SETTINGS, 3, clusterer=name) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.probability, second.probability)


def test_hdbscan_labels_follow_a_row_shuffle(make_blobs):
    points, _ = make_blobs(noise=40)
    order = np.random.default_rng(5).permutation(len(points))
    straight = cluster_points(points, SETTINGS, 0).labels
    shuffled = cluster_points(points[order], SETTINGS, 0).labels
    np.testing.assert_array_equal(shuffled, straight[order])


def test_hdbscan_marks_noise_and_doubts_it(make_blobs):
    points, truth = make_blobs(noise=60, spread=0.1)
    found = cluster_points(points, SETTINGS, 0)
    assert found.count == 3
    assert (found.labels[truth < 0] < 0).mean() > 0.9
    assert (found.probability[found.labels < 0] == 0).all()


@given(st.lists(st.integers(-1, 5), min_size=1, max_size=40), st.permutations(range(6)))
def test_renumber_does_not_depend_on_the_numbers(labels, names):
    labels = np.array(labels)
    renamed = np.where(labels < 0, -1, np.array(names)[labels])
    result = renumber(labels)
    np.testing.assert_array_equal(result, renumber(renamed))
    np.testing.assert_array_equal(result < 0, labels < 0)
    sizes = np.bincount(result[result >= 0])
    assert (np.diff(sizes) <= 0).all()
    if (labels >= 0).any():
        assert adjusted_rand_score(labels, result) == 1.0


def test_renumber_breaks_ties_by_first_point():
    np.testing.assert_array_equal(renumber(np.array([7, -1, 2, 7, 2, 4])), [0, -1, 1, 0, 1, 2])


def test_noise_is_the_highest_class():
    clusters = Clusters(np.array([0, -1, 1, 0]), np.ones(4, np.float32), "by hand")
    assert clusters.class_labels.tolist() == [0, 2, 1, 0]
    assert (clusters.count, clusters.noise_share) == (2, 0.25)


def test_all_noise_has_no_cluster():
    clusters = Clusters(np.full(3, -1), np.zeros(3, np.float32), "by hand")
    assert clusters.count == 0
    assert clusters.class_labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", CLUSTERERS)
def test_coinciding_points_are_one_cluster(name):
    found = cluster_points(np.ones((30, 3), np.float32), SETTINGS, 0, clusterer=name)
    assert (found.count, found.noise_share) == (1, 0.0)


def test_every_clusterer_the_config_allows_loads():
    allowed = DiscoverConfig.__annotations__["clusterer"].__args__
    assert set(allowed) == set(CLUSTERERS)
    assert all(callable(load_clusterer(name)) for name in allowed)
    for backend in DiscoverConfig.__annotations__["backend"].__args__:
        assert callable(load_clusterer("hdbscan", backend))
    assert load_clusterer("hdbscan", "torch") is not load_clusterer("hdbscan", "cpu")


def test_backend_of_the_config_computes_hdbscan_and_nothing_else(make_blobs):
    points, truth = make_blobs(noise=20)
    config = replace(SETTINGS, backend="torch")
    found = cluster_points(points, config, 0)
    assert found.backend == "torch HDBSCAN, cpu"
    assert adjusted_rand_score(truth, found.labels) > 0.9
    assert cluster_points(points, config, 0, clusterer="kmeans").backend.startswith("scikit-learn")
