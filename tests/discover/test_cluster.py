from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig
from detaux.discover.backends import CLUSTERERS
from detaux.discover.cluster import Clusters, cluster_points, complete_labels, renumber

SETTINGS = DiscoverConfig(clusters=3, bandwidth_quantile=0.3)


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


def test_noise_that_joins_the_nearest_cluster_keeps_the_others_and_its_doubt(make_blobs):
    points, _ = make_blobs(noise=60, spread=0.1)
    points[5] = torch.nan
    apart, joined = (cluster_points(points, replace(SETTINGS, outliers=noise), 0) for noise in ("class", "nearest"))
    is_noise = apart.labels < 0
    assert is_noise.sum() > 1
    assert np.flatnonzero(joined.labels < 0).tolist() == [5]
    assert adjusted_rand_score(apart.labels[~is_noise], joined.labels[~is_noise]) == 1
    np.testing.assert_array_equal(joined.probability, apart.probability)
    clustered = np.flatnonzero(~is_noise)
    is_noise[5] = False
    nearest = clustered[torch.cdist(points[is_noise], points[clustered]).argmin(1)]
    np.testing.assert_array_equal(joined.labels[is_noise], joined.labels[nearest])


def test_images_without_a_label_take_that_of_the_nearest_one():
    points, truth = torch.tensor([[0.0], [0.1], [5.0], [5.2], [0.2]]), np.array([3, -1, 1, -1, -1])
    np.testing.assert_array_equal(complete_labels(points, truth), [3, 3, 1, 1, 3])
    np.testing.assert_array_equal(complete_labels(points, np.full(5, -1)), np.full(5, -1))


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
    assert (clusters.count, clusters.outlier_fraction) == (2, 0.25)


def test_all_noise_has_no_cluster():
    clusters = Clusters(np.full(3, -1), np.zeros(3, np.float32), "by hand")
    assert clusters.count == 0
    assert clusters.class_labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", CLUSTERERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_points_that_are_not_finite_are_noise_alone(name, value, make_blobs):
    points, _ = make_blobs()
    points[7, 2] = value
    found = cluster_points(points, SETTINGS, 0, clusterer=name)
    assert np.flatnonzero(found.labels < 0).tolist() == [7]
    assert found.probability[7] == 0
    rest = np.delete(np.arange(len(points)), 7)
    np.testing.assert_array_equal(found.labels[rest], cluster_points(points[rest], SETTINGS, 0, name).labels)


def test_points_of_which_none_is_finite_are_noise():
    found = cluster_points(torch.full((9, 2), torch.nan), SETTINGS, 0)
    assert found.labels.tolist() == [-1] * 9
    assert found.count == 0


def test_backend_of_the_config_clusters(make_blobs):
    points, _ = make_blobs()
    for backend, name in (("auto", "hdbscan"), ("cpu", "hdbscan"), ("torch", "torch HDBSCAN, cpu")):
        assert cluster_points(points, DiscoverConfig(backend=backend), 0).backend == name
