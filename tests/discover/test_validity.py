"""The density-based validity index against a plain loop over its definition."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from detaux.discover import validity
from detaux.discover.cluster import Clusters
from detaux.discover.validity import compute_validity


def label(values):
    return Clusters(np.asarray(values), np.ones(len(values), np.float32), "by hand")


def loop_over_definition(points, labels):
    """Moulavi et al. (2014), definitions 1 to 8, a pair at a time."""
    dims = len(points[0])
    members = {number: [i for i, one in enumerate(labels) if one == number] for number in set(labels) - {-1}}
    core, inner, sparse = {}, {}, {}
    for number, own in members.items():
        for i in own:
            powers = [math.dist(points[i], points[j]) ** -dims for j in own if j != i]
            core[i] = (sum(powers) / len(powers)) ** (-1 / dims)

        def reach(i, j):
            return max(core[i], core[j], math.dist(points[i], points[j]))

        edges, parts = [], {i: i for i in own}
        nearer = sorted(combinations(own, 2), key=lambda pair: math.dist(points[pair[0]], points[pair[1]]))
        for i, j in sorted(nearer, key=lambda pair: reach(*pair)):  # Kruskal
            if parts[i] != parts[j]:
                edges.append((i, j))
                parts = {one: parts[i] if part == parts[j] else part for one, part in parts.items()}
        degree = {i: sum(i in edge for edge in edges) for i in own}
        between = [edge for edge in edges if min(degree[i] for i in edge) > 1]
        sparse[number] = max(reach(*edge) for edge in between or edges)
        inner[number] = [i for i in own if degree[i] > 1] if between else own
    total = 0.0
    for number, own in members.items():
        others = [i for other in members if other != number for i in inner[other]]
        apart = min(reach(i, j) for i in inner[number] for j in others)
        total += len(own) / len(labels) * (apart - sparse[number]) / max(apart, sparse[number])
    return total


@pytest.mark.parametrize("seed", range(12))
def test_validity_matches_loop_over_its_definition(seed):
    random = np.random.default_rng(seed)
    dims, clusters = int(random.integers(1, 5)), int(random.integers(2, 5))
    labels = np.concatenate([np.repeat(np.arange(clusters), 2), random.integers(-1, clusters, 40)])
    points = random.normal(size=(len(labels), dims)) + random.choice([0, 1, 4]) * labels[:, None]
    points = points.astype(np.float32)
    found = compute_validity(torch.from_numpy(points), label(labels), 0)
    assert found == pytest.approx(loop_over_definition(points.tolist(), labels.tolist()), abs=1e-6)


def test_validity_of_blobs_far_apart_is_near_one(make_blobs):
    points, truth = make_blobs()
    assert compute_validity(points, label(truth), 0) > 0.9


def test_validity_of_random_labels_is_low(make_blobs):
    points, truth = make_blobs()
    shuffled = np.random.default_rng(0).permutation(truth)
    assert compute_validity(points, label(shuffled), 0) < -0.5


def test_noise_lowers_validity_by_its_share(make_blobs):
    points, truth = make_blobs(noise=100)
    without = compute_validity(points[truth >= 0], label(truth[truth >= 0]), 0)
    share = (truth >= 0).mean()
    assert compute_validity(points, label(truth), 0) == pytest.approx(share * without, abs=1e-6)


def test_validity_of_coincident_points_is_one():
    points = torch.tensor([[0.0], [5.0]]).repeat_interleave(10, 0)
    assert compute_validity(points, label([0] * 10 + [1] * 10), 0) == 1.0


def test_validity_of_many_dimensions_is_finite():
    points = 1e-4 * torch.randn(60, 512, generator=torch.Generator().manual_seed(0))
    points[30:] += 1
    assert compute_validity(points, label([0] * 30 + [1] * 30), 0) > 0.9


def test_validity_of_a_subsample_is_close_to_that_of_all(make_blobs, monkeypatch):
    points, truth = make_blobs()
    whole = compute_validity(points, label(truth), 0)
    monkeypatch.setattr(validity, "MOST_POINTS", 250)
    assert compute_validity(points, label(truth), 0) == pytest.approx(whole, abs=0.1)


@pytest.mark.parametrize("labels", [[0] * 10, [-1] * 10, list(range(10)), [0] * 9 + [1]])
def test_validity_without_two_clusters_of_two_points_is_zero(labels):
    points = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    assert compute_validity(points, label(labels), 0) == 0.0
