import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree
from sklearn.metrics import pairwise_distances

from detaux.discover.clusterers import blocks as point_blocks
from detaux.discover.clusterers import spanning_tree
from detaux.discover.clusterers.blocks import sort_into_blocks
from detaux.discover.clusterers.distances import measure
from detaux.discover.clusterers.spanning_tree import compute_core_distances, span_mutual_reachability

pytestmark = pytest.mark.usefixtures("small_blocks")


def draw_points(seed, samples, size, kind):
    """float64 [samples, size]: normal in three heaps, uniform, or on a grid so coarse that many coincide."""
    random = np.random.default_rng(seed)
    if kind == "grid":
        return random.integers(0, 3, (samples, size)).astype(np.float64)
    if kind == "uniform":
        return random.uniform(size=(samples, size))
    return random.normal(size=(samples, size)) + 6 * random.integers(0, 3, (samples, 1))


points = st.builds(
    draw_points,
    st.integers(0, 2**32 - 1),
    st.integers(2, 120),
    st.sampled_from([1, 2, 5, 33]),
    st.sampled_from(["heaps", "uniform", "grid"]),
)


def measure_reach(points_ND, neighbours):
    """Mutual reachability [N, N] by definition, and the core distances [N]."""
    distances = pairwise_distances(points_ND)
    core = np.sort(distances, axis=1)[:, min(neighbours, len(points_ND) - 1)]
    return np.maximum(distances, np.maximum(core[:, None], core)), core


@given(points)
@settings(max_examples=50)
def test_blocks_hold_every_point_once_and_gaps_are_none_too_wide(points_ND):
    blocks = sort_into_blocks(torch.from_numpy(points_ND))
    assert sorted(blocks.order.tolist()) == list(range(len(points_ND)))
    np.testing.assert_array_equal(blocks.points_ND, points_ND[blocks.order])
    for block, (near, gap) in enumerate(zip(blocks.near.tolist(), blocks.gap.tolist(), strict=True)):
        assert sorted(near) == list(range(blocks.count))
        assert gap == sorted(gap)
        for other, least in zip(near, gap, strict=True):
            apart = torch.cdist(blocks.points_ND[blocks.rows(block)], blocks.points_ND[blocks.rows(other)])
            assert least <= apart.min() + 1e-9


@given(points, st.integers(1, 40))
@settings(max_examples=50)
def test_core_distances_match_a_full_sort(points_ND, neighbours):
    blocks = sort_into_blocks(torch.from_numpy(points_ND))
    core = compute_core_distances(blocks, neighbours)
    np.testing.assert_allclose(core, measure_reach(points_ND, neighbours)[1][blocks.order], atol=1e-7)


@given(points, st.integers(1, 40))
@settings(max_examples=100)
def test_tree_spans_the_points_with_the_least_weight(points_ND, neighbours):
    blocks = sort_into_blocks(torch.from_numpy(points_ND))
    edges, weights = span_mutual_reachability(blocks, compute_core_distances(blocks, neighbours))
    reach, _ = measure_reach(points_ND, neighbours)
    np.testing.assert_allclose(weights, reach[edges[:, 0], edges[:, 1]], atol=1e-7)
    # a weight of 0 is no edge to scipy
    least = minimum_spanning_tree(np.triu(reach + 1, 1)).data - 1
    np.testing.assert_allclose(np.sort(weights), np.sort(least), atol=1e-7)
    above = list(range(len(points_ND)))

    def find(node):
        return node if above[node] == node else find(above[node])

    for one, other in edges.tolist():
        assert find(one) != find(other)
        above[find(one)] = find(other)


@pytest.mark.parametrize("block", [1, 2, 8])
@pytest.mark.parametrize("neighbours", [1, 7])
def test_tree_of_float32_points_is_that_of_all_their_distances(monkeypatch, block, neighbours):
    """The smaller the blocks, the more often a search ends before it has found what it looks for."""
    monkeypatch.setattr(point_blocks, "BLOCK", block)
    monkeypatch.setattr(spanning_tree, "TILE_BLOCKS", 1)
    points_ND = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) + 1
    distances = measure(points_ND, points_ND)
    core = distances.sort(1).values[:, neighbours]
    reach = distances.maximum(core[:, None]).maximum(core).double().numpy()
    blocks = sort_into_blocks(points_ND)
    found = compute_core_distances(blocks, neighbours)
    assert torch.equal(found, core[blocks.order])
    edges, weights = span_mutual_reachability(blocks, found)
    np.testing.assert_array_equal(weights, reach[edges[:, 0], edges[:, 1]])
    np.testing.assert_array_equal(np.sort(weights), np.sort(minimum_spanning_tree(np.triu(reach, 1)).data))


def test_distance_that_is_not_finite_ends_the_search():
    points_ND = torch.tensor([[0.0], [1.0], [torch.inf]])
    blocks = sort_into_blocks(points_ND)
    with pytest.raises(AssertionError, match="a distance is not finite"):
        span_mutual_reachability(blocks, compute_core_distances(blocks, 1))


def test_tree_reads_no_more_blocks_than_it_needs(monkeypatch):
    """Two heaps far apart: nearly all the work lies inside them."""
    heaps = np.concatenate([draw_points(seed, 400, 2, "uniform") + 50 * seed for seed in (0, 1)])
    whole, seen = spanning_tree.measure, []

    def count(first_MD, second_ND):
        seen.append(len(first_MD) * len(second_ND))
        return whole(first_MD, second_ND)

    monkeypatch.setattr(spanning_tree, "measure", count)
    blocks = sort_into_blocks(torch.from_numpy(heaps))
    core = compute_core_distances(blocks, 5)
    assert sum(seen) < 0.1 * len(heaps) ** 2
    span_mutual_reachability(blocks, core)
    assert sum(seen) < 0.3 * len(heaps) ** 2


def test_coinciding_points_are_no_reason_to_read_every_block(monkeypatch):
    whole, seen = spanning_tree.measure, []
    monkeypatch.setattr(
        spanning_tree, "measure", lambda first, second: seen.append(len(first) * len(second)) or whole(first, second)
    )
    core = compute_core_distances(sort_into_blocks(torch.ones(800, 2)), 5)
    assert not core.any()
    assert sum(seen) < 0.1 * 800**2
