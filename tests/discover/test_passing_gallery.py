"""The pictures of candidates that pass, against the images, the model and the shapes they come from."""

import numpy as np
import pytest
import torch

from detaux.discover import passing_gallery
from detaux.discover.candidates.candidate import Fault
from detaux.discover.cluster import Clusters
from detaux.discover.passing_gallery import (
    build_passing_gallery,
    list_continua,
    pick_places,
    pick_surest,
    recombine,
)
from detaux.discover.shape import Shape
from detaux.disentangle.embed import embed_split

RING = Shape("ring", 1, coordinate_N=np.array([350.0, 10.0, 100.0, 90.0, 181.0, 200.0, 271.0], np.float32))


@pytest.fixture
def shown(model, make_split, make_candidate):
    """A split, and a candidate of subspace 1, the green of the images, with its model and embeddings."""
    split = make_split(samples=120)
    embeddings = embed_split(model, split.images, torch.device("cpu"))
    one = make_candidate(split.factors[:, 1], embeddings.subspaces_NKD[:, 1])
    return split, one, (model, embeddings.subspaces_NKD)


def test_surest_images_are_those_of_highest_probability_and_no_outliers():
    labels = np.array([0] * 50 + [1] * 30 + [-1] * 20)
    probability = np.random.default_rng(0).random(100).astype(np.float32)
    first, second = pick_surest(Clusters(labels, probability, "by hand"), 6)
    assert first.tolist() == np.argsort(-probability[:50])[:6].tolist()
    assert second.tolist() == (50 + np.argsort(-probability[50:80])[:6]).tolist()


def test_recombined_images_have_the_green_of_the_donor_and_all_else_of_the_base(shown):
    split, _, (model, subspaces_NKD) = shown
    bases, donors = np.array([0, 1, 2]), np.array([7, 8])
    pictures = recombine(model, subspaces_NKD, (1,), bases, donors)
    assert pictures.shape == (3, 3, 8, 8, 3)
    means = split.images.float().mean((1, 2)).numpy()
    found = pictures.astype(float).mean((2, 3))
    np.testing.assert_allclose(found[0], means[bases], atol=1)
    for row, donor in enumerate(donors, start=1):
        np.testing.assert_allclose(found[row][:, 1], np.repeat(means[donor, 1], 3), atol=1)
        np.testing.assert_allclose(found[row][:, [0, 2]], means[bases][:, [0, 2]], atol=1)


def test_images_around_a_ring_are_nearest_to_equal_steps():
    rows, places = pick_places(RING, 4)
    assert rows.tolist() == [3, 4, 6, 0]  # 0 degrees is as far from 350 as from 10, and the first wins
    np.testing.assert_array_equal(places, RING.coordinate_N[rows])


def test_images_along_a_line_have_equally_many_between_them():
    place = np.random.default_rng(0).random(100).astype(np.float32) ** 3
    rows, places = pick_places(Shape("line", 1, coordinate_N=place), 12)
    assert rows.tolist() == np.argsort(place)[::9].tolist()
    assert (np.diff(places) > 0).all()
    assert len(pick_places(Shape("line", 1, coordinate_N=place[:5]), 12)[0]) == 5


def test_arrays_name_the_candidate_and_cluster_of_each_picture(shown):
    split, one, source = shown
    one.shape = Shape("line", 1, coordinate_N=np.linspace(0, 1, 120, dtype=np.float32))
    arrays = build_passing_gallery({3: (one, source)}, {3: one}, split, 0)
    assert set(arrays["passing_of"]) == set(arrays["recombined_of"]) == set(arrays["ordered_of"]) == {3}
    assert np.bincount(arrays["passing_labels"]).tolist() == [6] * 5
    assert arrays["recombined_labels"].tolist() == [-1, 0, 1, 2, 3, 4]
    assert arrays["recombined"].shape == (6, 4, 8, 8, 3)
    greens = arrays["passing_examples"].astype(float).mean((1, 2))[:, 1]
    for label in range(5):
        wanted = split.images[torch.from_numpy(one.clusters.labels == label)].float().mean((1, 2))[:, 1]
        assert abs(greens[arrays["passing_labels"] == label].mean() - wanted.mean()) < 3
    assert len(arrays["ordered"]) == len(arrays["ordered_at"]) == 16
    assert all(array.dtype != object for array in arrays.values())


def test_candidate_without_a_subspace_has_no_recombined_pictures(shown):
    split, one, source = shown
    one.subspaces = ()
    assert set(build_passing_gallery({0: (one, source)}, {}, split, 0)) == {
        "passing_examples",
        "passing_labels",
        "passing_of",
    }
    assert build_passing_gallery({}, {}, split, 0) == {}


def test_large_pictures_shrink_to_means_of_areas_and_many_clusters_to_the_largest(shown, monkeypatch):
    split, one, source = shown
    monkeypatch.setattr(passing_gallery, "MOST_SIDE", 4)
    monkeypatch.setattr(passing_gallery, "MOST_CLUSTERS", 2)
    arrays = build_passing_gallery({0: (one, source)}, {}, split, 0)
    assert set(arrays["passing_labels"]) == {0, 1}
    assert arrays["recombined"].shape == (3, 4, 4, 4, 3)
    row = pick_surest(one.clusters, 1)[0][0]
    image = split.images[int(row)].numpy().astype(float)
    means = image.reshape(4, 2, 4, 2, 3).mean((1, 3))
    np.testing.assert_allclose(arrays["passing_examples"][0], means, atol=0.51)


def test_lines_and_rings_are_listed_once_with_those_that_pass_first(make_candidate):
    def make(shape, fault=None):
        one = make_candidate([0, 1] * 10)
        one.shape, one.fault = shape, fault and Fault(fault, "")
        return one

    cloud, line, ring = Shape("cloud", 1), Shape("line", 1), Shape("ring", 1)
    faults = "with_one_cluster"
    pool = [make(ring, faults), make(cloud), make(line), make(line, faults), make(Shape("line", 1), "dead"), make(None)]
    assert list_continua(pool, [1, 2]) == [2, 0]
    assert list_continua(pool, []) == [0, 2]
    many = [make(Shape("ring", 1), faults) for _ in range(9)]
    assert len(list_continua(many, [])) == passing_gallery.MOST_CONTINUA
