import io

import numpy as np
import pytest
import torch

from detaux.config.schema import DiscoverConfig
from detaux.discover import gallery
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.cluster import Clusters, cluster_points
from detaux.discover.gallery import MOST_POINTS, build_gallery, compute_components, pick_examples
from detaux.disentangle.embed import embed_split


def test_examples_are_by_turns_the_surest_and_others_of_every_class():
    labels = np.array([0] * 50 + [1] * 30 + [-1] * 20)
    probability = np.random.default_rng(0).random(100).astype(np.float32)
    clusters = Clusters(labels, probability, "by hand")
    shown = pick_examples(clusters, 8, 0)
    assert np.bincount(clusters.class_labels[shown]).tolist() == [8, 8, 8]
    assert len(set(shown.tolist())) == 24
    surest = np.argsort(-probability[:50])
    assert shown[:8:2].tolist() == surest[:4].tolist()
    assert set(shown[1:8:2].tolist()) <= set(surest[4:].tolist())


def test_examples_of_a_small_cluster_are_all_of_it():
    clusters = Clusters(np.array([0, 0, 0, 1]), np.ones(4, np.float32), "by hand")
    assert sorted(pick_examples(clusters, 8, 0).tolist()) == [0, 1, 2, 3]


def test_components_keep_distances_of_three_dimensions():
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    found = compute_components(points)
    np.testing.assert_allclose(
        np.linalg.norm(found[0] - found[1:], axis=1), (points[0] - points[1:]).norm(dim=1), rtol=1e-4
    )


@pytest.mark.parametrize("shape", [(10, 2), (2, 5), (1, 1)])
def test_missing_components_are_zero(shape):
    found = compute_components(torch.ones(shape))
    assert found.shape == (shape[0], 3)
    assert (found == 0).all()


@pytest.mark.parametrize("is_found", [True, False])
def test_gallery_holds_plain_arrays(is_found, model, make_split):
    split = make_split()
    embeddings = embed_split(model, split.images, torch.device("cpu"))

    def cluster(points):
        return Candidate(points, cluster_points(points, DiscoverConfig(), 0), (1,))

    chosen = cluster(embeddings.subspaces_NKD[:, 1]) if is_found else None
    arrays = build_gallery(
        model, split, embeddings, [(1,), (2, 3)], chosen, cluster(embeddings.latents_ND), {split.keys[0]: "写真"}, 0
    )
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    stream.seek(0)
    loaded = np.load(stream, allow_pickle=False)
    assert loaded["traversal"].shape == (3, 9, 8, 8, 3)
    assert loaded["traversal_subspaces"].tolist() == [0, 1, 2]
    assert loaded["traversal_groups"].tolist() == ["0", "1", "2 + 3"]
    assert loaded["pca_encoder"].shape == (min(MOST_POINTS, len(split.keys)), 3)
    assert ("examples" in loaded) == ("pca_subspace" in loaded) == is_found
    if is_found:
        assert len(loaded["examples"]) == len(loaded["example_labels"]) == len(loaded["example_names"])
        assert set(loaded["example_names"].tolist()) <= {"写真", *split.keys[1:]}
        assert loaded["pca_subspace"].shape == (*loaded["pca_subspace_labels"].shape, 3)
        assert loaded["example_labels"].min() == 0


def test_gallery_of_a_seed_comes_again_and_of_another_shows_others(model, make_split, make_candidate, monkeypatch):
    monkeypatch.setattr(gallery, "MOST_POINTS", 50)
    split = make_split(samples=120)
    embeddings = embed_split(model, split.images, torch.device("cpu"))
    chosen = make_candidate(split.factors[:, 1], embeddings.subspaces_NKD[:, 1])
    latents = make_candidate(split.labels, embeddings.latents_ND)
    first, again, other = (
        build_gallery(model, split, embeddings, [(1,)], chosen, latents, {}, seed) for seed in (0, 0, 1)
    )
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    for name in ("examples", "pca_subspace", "pca_encoder", "traversal"):
        assert not np.array_equal(first[name], other[name]), name
