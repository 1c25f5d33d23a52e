import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from detaux.config import load_config
from detaux.data.split import Split
from detaux.discover.candidates import clustered_layout
from detaux.discover.candidates.clustered_layout import propose_from_layout
from detaux.discover.candidates.layout import propose_layout
from detaux.discover.cluster import cluster_points
from detaux.discover.layout import LEAST_POINTS


def build_hidden_classes(count=400, side=10):
    """Pictures of four bars, two in each of two classes, of any brightness and with noise; and the bars' numbers."""
    random = np.random.default_rng(0)
    pattern = random.integers(0, 4, count)
    images = random.normal(90, 12, (count, side, side, 3))
    for image, one in zip(images, pattern, strict=True):
        at = slice(2, 4) if one // 2 else slice(6, 8)
        image[(slice(None), at) if one % 2 else at] += random.uniform(60, 140)
    return images.clip(0, 255).astype(np.uint8), pattern


@pytest.mark.slow
def test_layout_finds_the_classes_that_hide_within_a_class():
    images, pattern = build_hidden_classes()
    split = Split(torch.from_numpy(images), torch.from_numpy(pattern % 2), list(map(str, pattern)), None)
    config = load_config(None, ["discover.sources=[layout]", "discover.outliers=nearest"])
    found = {one.name: one for one in propose_layout(split, None, config)}
    assert list(found) == ["layout_hdbscan", "layout_plscan"]
    for one in found.values():
        assert adjusted_rand_score(pattern, one.clusters.labels) > 0.97
        assert one.recluster is None


@pytest.mark.slow
def test_points_outside_the_sample_take_the_clusters_of_their_neighbours(make_blobs):
    points, truth = make_blobs(dims=6, spread=0.8)
    config = load_config(None, ["discover.clusterer=kmeans", "discover.clusters=3"])
    found = propose_from_layout(points, "layout", config, most=250)
    assert [one.name for one in found] == ["layout_kmeans", "layout_plscan"]
    for one in found:
        assert len(one.points_ND) == len(one.clusters.labels) == len(points)
        assert adjusted_rand_score(truth, one.clusters.labels) > 0.99


@pytest.mark.slow
def test_pictures_that_are_all_alike_do_no_harm():
    images = np.full((100, 8, 8, 3), 40, np.uint8)
    split = Split(torch.from_numpy(images), torch.zeros(100, dtype=torch.int64), [], None)
    for one in propose_layout(split, None, load_config(None, [])):
        assert np.isfinite(one.points_ND.numpy()).all()


def test_points_of_one_fixed_layout_have_no_stability(make_blobs, monkeypatch):
    """Resampled points of a layout keep its gaps, so their clusters would agree whatever the points are."""
    monkeypatch.setattr(clustered_layout, "lay_out", lambda points, seed, most: (points[:, :2], np.arange(len(points))))
    points, _ = make_blobs(dims=6, spread=0.8)
    config = load_config(None, ["discover.clusterer=kmeans", "discover.clusters=3"])
    monkeypatch.setattr(clustered_layout, "cluster_by_plscan", lambda points, config: cluster_points(points, config, 0))
    for one in propose_from_layout(points, "layout", config):
        assert one.clusters.count > 1
        assert one.recluster is None


def test_few_pictures_make_no_layout(make_blobs):
    points, _ = make_blobs((LEAST_POINTS - 1,))
    assert propose_from_layout(points, "layout", load_config(None, [])) == []
