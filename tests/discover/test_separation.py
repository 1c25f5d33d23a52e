import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import silhouette_score

from detaux.discover.cluster import Clusters
from detaux.discover.separation import compute_separation, compute_silhouette
from detaux.discover.validity import compute_validity


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


@given(st.integers(0, 2**31 - 1), st.integers(3, 200), st.integers(2, 9), st.sampled_from([0.0, 100.0]), st.booleans())
def test_silhouette_matches_scikit_learn(seed, samples, clusters, shift, is_grid):
    """Far from the origin, on a grid where points coincide, and with clusters of one point."""
    random = np.random.default_rng(seed)
    points = random.integers(0, 3, (samples, 3)) if is_grid else random.normal(size=(samples, 3))
    points = (points + shift).astype(np.float32)
    labels = random.integers(clusters, size=samples)
    if 2 <= len(np.unique(labels)) < samples:
        found = compute_silhouette(torch.from_numpy(points), label(labels), 0)
        assert found == pytest.approx(silhouette_score(points.astype(np.float64), labels), abs=1e-5)


@pytest.mark.parametrize("labels", [[0] * 10, [-1] * 10, list(range(10))])
def test_silhouette_without_two_clusters_is_zero(labels):
    points = torch.randn(10, 2)
    assert compute_silhouette(points, label(labels), 0) == 0.0


def test_separation_matches_its_definition():
    clusters = label([0, 1, 2, -1])
    assert compute_separation(0.8, 1.0, clusters) == pytest.approx(0.8 * np.log(3) * 0.75)
    assert compute_separation(0.8, 0.5, clusters) == pytest.approx(0.8 * np.log(3) * 0.75 * 0.75**2)
    assert compute_separation(0.8, -1.0, clusters) == 0.0
    assert compute_separation(0.8, 1.0, label([0, 0])) == 0.0
    assert compute_separation(0.8, 1.0, label([-1, -1])) == 0.0


def test_separation_of_a_factor_exceeds_that_of_its_combinations_with_a_blurred_one():
    random = np.random.default_rng(0)
    crisp, blurred = random.integers(5, size=2000), random.integers(4, size=2000)
    points = np.stack([crisp + 0.05 * random.normal(size=2000), blurred + 0.18 * random.normal(size=2000)], axis=1)

    def separate(points_ND, labels):
        points_ND, clusters = torch.from_numpy(points_ND), label(labels)
        return compute_separation(
            compute_silhouette(points_ND, clusters, 0), compute_validity(points_ND, clusters, 0), clusters
        )

    assert separate(points[:, :1], crisp) > separate(points, 4 * crisp + blurred)
    # though there are four times as many clusters, which alone would make up for the lower silhouette
    without_validity = compute_separation(
        compute_silhouette(torch.from_numpy(points), label(4 * crisp + blurred), 0), 1.0, label(4 * crisp + blurred)
    )
    assert without_validity > separate(points[:, :1], crisp)
