import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

import detaux
from detaux.config.schema import DiscoverConfig
from detaux.discover.layout import COMPONENTS, DIMS, cluster_by_plscan, lay_out, reduce_points, scale_variance
from detaux.discover.subsample import draw_rows


def draw_low_rank(count, size, rank):
    random = np.random.default_rng(0)
    points = random.normal(size=(count, rank)) @ random.normal(size=(rank, size)) + 5
    return torch.from_numpy(points.astype(np.float32))


@pytest.mark.parametrize(("count", "size"), [(200, 300), (1000, 150)])
def test_reduced_points_keep_distances_of_points_of_low_rank(count, size):
    points = draw_low_rank(count, size, rank=20)
    found = reduce_points(points, seed=0)
    assert found.shape == (count, COMPONENTS)
    torch.testing.assert_close(torch.pdist(found), torch.pdist(points), rtol=1e-4, atol=1e-3)


def test_points_with_few_numbers_are_not_reduced():
    points = draw_low_rank(500, COMPONENTS, rank=3)
    assert reduce_points(points, seed=0) is points


def test_packages_of_the_extra_are_imported_only_inside_functions():
    pattern = re.compile(r"^(import|from) (umap|fast_hdbscan|numba)", re.MULTILINE)
    files = list(Path(detaux.__file__).parent.rglob("*.py"))
    assert len(files) > 100
    assert [str(file) for file in files if pattern.search(file.read_text(encoding="utf-8"))] == []


def test_scaled_points_have_variance_1_and_the_same_shape():
    points = draw_low_rank(100, 7, rank=7)
    found = scale_variance(points)
    torch.testing.assert_close(found.var(0, correction=0).sum(), torch.tensor(1.0))
    torch.testing.assert_close(found.mean(0), torch.zeros(7), atol=1e-5, rtol=0)
    ratio = torch.pdist(points) / torch.pdist(found)
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
    assert (scale_variance(torch.ones(5, 2)) == 0).all()


@pytest.mark.slow
def test_number_of_threads_stays(make_blobs):
    points, _ = make_blobs()
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            cluster_by_plscan(lay_out(points, seed=0)[0], DiscoverConfig())
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_layout_keeps_blobs_together_and_repeats_itself(make_blobs):
    points, truth = make_blobs(dims=20, spread=1.0)
    layout, place = lay_out(points, seed=3)
    assert layout.shape == (len(points), DIMS)
    np.testing.assert_array_equal(place, np.arange(len(points)))
    near = torch.cdist(layout, layout).fill_diagonal_(torch.inf).argmin(1)
    assert (truth[near] == truth).all()
    again, _ = lay_out(points, seed=3)
    torch.testing.assert_close(again, layout, rtol=0, atol=0)
    other, _ = lay_out(points, seed=4)
    assert not torch.equal(other, layout)


@pytest.mark.slow
def test_point_outside_the_sample_has_the_place_of_its_nearest_neighbour(make_blobs):
    points, _ = make_blobs(dims=8, spread=1.0)
    layout, place = lay_out(points, seed=0, most=200)
    rows = draw_rows(len(points), 200, 0)
    assert len(layout) == len(rows) == 200
    np.testing.assert_array_equal(rows[place[rows]], rows)
    for one in np.setdiff1d(np.arange(len(points)), rows):
        assert rows[place[one]] == rows[np.argmin(np.linalg.norm(points.numpy()[rows] - points.numpy()[one], axis=1))]


@pytest.mark.slow
def test_plscan_finds_blobs_of_any_size_without_being_told(make_blobs):
    points, truth = make_blobs((300, 120, 60, 30), noise=20)
    found = cluster_by_plscan(points, DiscoverConfig())
    assert found.count == 4
    assert adjusted_rand_score(truth[truth >= 0], found.labels[truth >= 0]) > 0.99
    assert (found.labels[truth < 0] == -1).mean() > 0.5
    assert (found.probability[found.labels < 0] == 0).all()
    assert (np.diff(np.bincount(found.labels[found.labels >= 0])) <= 0).all()


@pytest.mark.slow
def test_outliers_of_plscan_join_the_nearest_cluster_if_asked_for(make_blobs):
    points, truth = make_blobs((300, 120, 60), noise=20)
    found = cluster_by_plscan(points, DiscoverConfig(outliers="nearest"))
    assert found.outlier_fraction == 0
    assert adjusted_rand_score(truth[truth >= 0], found.labels[truth >= 0]) > 0.99


@pytest.mark.slow
def test_plscan_has_no_cluster_smaller_than_the_smallest(make_blobs):
    points, _ = make_blobs((300, 120, 60, 30))
    for least in (15, 45, 90):
        found = cluster_by_plscan(points, DiscoverConfig(min_cluster_size=least, min_cluster_fraction=0.0))
        assert np.bincount(found.labels[found.labels >= 0]).min() >= least
