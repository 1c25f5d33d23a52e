import numpy as np
import pytest
import torch

from detaux.config.schema import DiscoverConfig
from detaux.discover.cluster import Clusters, cluster_points
from detaux.discover.scores import (
    compute_bootstrap_stability,
    compute_dot,
    compute_spread,
    drop_principal_pairs,
    score_agreement,
    score_pairs,
)
from detaux.disentangle.embed import Embeddings


def score(points, first, second, margin=1.0, normalizer="mean_distance"):
    parts = [torch.from_numpy(np.asarray(part, np.float32)) for part in points]
    pair = (np.asarray(first), np.asarray(second))
    return score_pairs(parts, *pair, margin=margin, normalizer=normalizer, seed=0)


def label(values):
    return Clusters(np.asarray(values), np.ones(len(values), np.float32), "by hand")


def test_stability_prefers_real_clusters(make_blobs):
    settings = DiscoverConfig(clusterer="kmeans", clusters=3)
    blobs, _ = make_blobs()
    cloud = torch.randn(blobs.shape, generator=torch.Generator().manual_seed(0))
    values = [
        compute_bootstrap_stability(
            cluster_points(points, settings, 0),
            lambda rows, seed, points=points: cluster_points(points[rows], settings, seed),
            5,
            0,
        )
        for points in (blobs, cloud)
    ]
    assert values[0] > 0.99
    assert values[1] < 0.8


def test_agreement_is_that_with_the_most_similar_candidate_of_another_disentangler(make_candidate):
    labels = np.arange(60) % 3
    first, other, far, pixels = (make_candidate(one) for one in (labels, labels, np.arange(60) // 30, labels))
    first.restart, other.restart, far.restart, pixels.restart = 0, 1, 1, None
    score_agreement([first, other, far, pixels])
    assert first.scores["agreement"] == pytest.approx(1)
    assert far.scores["agreement"] == pytest.approx(0, abs=0.05)
    assert pixels.scores["agreement"] is None


def test_clusters_that_cannot_be_made_again_have_no_stability():
    assert compute_bootstrap_stability(label([0, 1] * 20), None, 5, 0) is None


def test_stability_matches_reclustering_that_swaps_all_or_nothing():
    clusters = label(np.arange(100) % 2)
    same = compute_bootstrap_stability(clusters, lambda rows, seed: label(1 - rows % 2), 3, 0)
    other = compute_bootstrap_stability(clusters, lambda rows, seed: label(rows // 2 % 2), 3, 0)
    assert same == 1.0
    assert abs(other) < 0.1


def test_stability_is_none_where_off_or_of_one_cluster():
    def recluster(rows, seed):
        raise AssertionError("nothing is to be clustered")

    assert compute_bootstrap_stability(label([0, 1] * 20), recluster, 0, 0) is None
    assert compute_bootstrap_stability(label([0] * 40), recluster, 5, 0) is None


def test_spread_is_the_share_of_variance():
    points = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    assert compute_spread(points, 4.0) == pytest.approx(0.25)
    assert compute_spread(torch.ones(3, 2), 0.0) == 0.0


def test_dot_matches_hand_computed_value():
    subspaces_NKD = torch.tensor([[[1.0, 0], [2, 5], [0, 1]], [[0, 2], [1, -4], [3, 1]]])
    # <s_0, s_1>: 2 and -8; <s_0, s_2>: 0 and 2
    assert compute_dot(subspaces_NKD, [1], 0) == pytest.approx(3.0)
    assert compute_dot(subspaces_NKD, [2], 0) == pytest.approx(1.0)
    assert compute_dot(subspaces_NKD, [1, 2], 0) == pytest.approx(2.0)


def test_pair_scores_match_hand_computed_values():
    # distances: candidate 0 has 3 and 0, candidate 1 has .5 and .5; mean norms of the four points are 1.25 and .25
    moving, still = [[0.0], [3.0], [1.0], [1.0]], [[0.0], [0.5], [0.5], [0.0]]
    first, second = [0, 2], [1, 3]
    given, other = score([moving, still], first, second, margin=1.0, normalizer="mean_norm")
    assert given["oracle_share"] == pytest.approx(0.5)
    assert other["oracle_share"] == pytest.approx(0.5)
    assert given["distance"] == pytest.approx(0.0)
    assert other["distance"] == pytest.approx((0.5**2 + (1 - 0.5) ** 2) / 2)
    assert given["invariance"] == pytest.approx(0.0)
    assert other["invariance"] == pytest.approx(0.25 / (2 * np.var([0, 0.5, 0.5, 0])))


def test_invariance_prefers_the_candidate_that_moves_only_when_asked():
    random = np.random.default_rng(0)
    clean = np.repeat(np.arange(5.0), 200)[:, None] + 0.01 * random.normal(size=(1000, 1))
    restless = random.normal(size=(1000, 1))
    first = np.arange(1000)
    second = np.where(random.random(1000) < 0.5, (first + 200) % 1000, 200 * (first // 200) + (first + 7) % 200)
    scores = score([clean, restless], first, second)
    assert scores[0]["invariance"] < 0.2 < scores[1]["invariance"]


def test_distance_prefers_the_candidate_that_keeps_the_margin():
    random = np.random.default_rng(1)
    factor = random.integers(2, size=600)
    apart, close = (scale * factor[:, None] + 0.01 * random.normal(size=(600, 1)) for scale in (1.5, 0.3))
    first, second = random.integers(600, size=(2, 400))
    values = [score([points, np.zeros((600, 1))], first, second)[0]["distance"] for points in (apart, close)]
    assert values[0] < values[1]


def test_dead_candidate_is_never_given_a_pair():
    random = np.random.default_rng(0)
    alive, dead = random.normal(size=(100, 2)), np.zeros((100, 2))
    first, second = random.integers(100, size=(2, 300))
    keep = first != second
    scores = score([dead, alive], first[keep], second[keep])
    assert scores[0]["oracle_share"] == 0.0
    assert scores[0]["invariance"] == 0.0
    assert scores[1]["invariance"] is None


def test_no_pairs_give_no_scores():
    scores = score([np.zeros((4, 2)), np.ones((4, 2))], np.zeros(0, int), np.zeros(0, int))
    assert [set(one.values()) for one in scores] == [{None}, {None}]


def test_pairs_that_change_the_principal_subspace_are_dropped():
    random = np.random.default_rng(0)
    values = 0.01 * random.normal(size=(200, 3, 2)) * np.array([1, 1, 0])[:, None]
    values[:, 0, 0] += random.integers(2, size=200)
    values[:, 1, 0] += random.integers(2, size=200)
    subspaces_NKD = torch.from_numpy(values.astype(np.float32))
    embeddings = Embeddings(subspaces_NKD, subspaces_NKD.sum(1))
    first, second = np.triu_indices(200, 1)
    moved = np.abs(values[first, :2, 0] - values[second, :2, 0]) > 0.5
    one = moved.sum(1) == 1
    kept = drop_principal_pairs(embeddings, first[one], second[one], 0, "mean_distance", 0)
    np.testing.assert_array_equal(kept, (first[one & moved[:, 1]], second[one & moved[:, 1]]))
