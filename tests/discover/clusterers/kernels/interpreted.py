"""The search of a round on Triton's interpreter, which runs it on CPU tensors; test_spanning_tree.py starts this file in a
process of its own with TRITON_INTERPRET=1."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import adjusted_rand_score

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import blocks as point_blocks
from detaux.discover.clusterers import spanning_tree
from detaux.discover.clusterers.blocks import Search, sort_into_blocks
from detaux.discover.clusterers.distances import measure
from detaux.discover.clusterers.kernels import spanning_tree as kernels
from detaux.discover.clusterers.spanning_tree import (
    compute_core_distances,
    span_mutual_reachability,
)
from detaux.discover.clusterers.torch_hdbscan import cluster_torch_hdbscan

SENTINEL = 12345


def draw_points(kind, samples, size):
    """float32 [samples, size]; `grid` and `far` lie at whole numbers, whose distances all orders of adding give alike."""
    random = np.random.default_rng(samples + size)
    points = {
        "blobs": lambda: random.normal(size=(samples, size)) + 8 * random.integers(0, 3, (samples, 1)),
        "uniform": lambda: random.uniform(size=(samples, size)),
        "grid": lambda: random.integers(0, 4, (samples, size)),
        "coinciding": lambda: np.ones((samples, size)),
        "far": lambda: np.cumsum(random.integers(50, 1000, (samples, size)), 0),
    }[kind]()
    return torch.from_numpy(points.astype(np.float32))


@pytest.fixture
def use_kernel(monkeypatch):
    """use_kernel(): from then on rounds are searched by the kernel."""
    return lambda: monkeypatch.setattr(spanning_tree, "choose_search", lambda points_ND: kernels.search_round)


@pytest.fixture
def set_block(monkeypatch):
    """set_block(block, rows, columns): points of a block, and rows and columns of a tile."""

    def set_them(block, rows, columns):
        monkeypatch.setattr(point_blocks, "BLOCK", block)
        monkeypatch.setattr(kernels, "ROWS", rows)
        monkeypatch.setattr(kernels, "COLUMNS", columns)

    return set_them


def check_tree(points_ND, neighbours, use_kernel):
    """The kernel's tree spans the points with the weights of the torch version's."""
    blocks = sort_into_blocks(points_ND)
    core_N = compute_core_distances(blocks, neighbours)
    _, expected = span_mutual_reachability(blocks, core_N)
    use_kernel()
    edges, weights = span_mutual_reachability(blocks, core_N)
    is_exact = bool((points_ND == points_ND.round()).all())
    np.testing.assert_allclose(np.sort(weights), np.sort(expected), rtol=0 if is_exact else 1e-6, atol=0)
    core = torch.empty_like(core_N).index_copy_(0, blocks.order, core_N)
    reach = measure(points_ND, points_ND).maximum(core[:, None]).maximum(core)
    np.testing.assert_allclose(weights, reach[edges[:, 0], edges[:, 1]], rtol=1e-6)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(len(points_ND), len(points_ND)))
    assert connected_components(graph, directed=False)[0] == 1


@pytest.mark.parametrize(
    ("kind", "samples", "size", "neighbours", "tile"),
    [
        ("blobs", 103, 2, 1, (32, 32, 16)),
        ("blobs", 41, 20, 5, (16, 8, 16)),
        ("uniform", 96, 1, 1, (32, 16, 32)),
        ("uniform", 117, 5, 30, (32, 32, 32)),
        ("grid", 45, 3, 4, (16, 8, 8)),
        ("coinciding", 45, 3, 2, (8, 4, 8)),
        ("far", 21, 2, 1, (8, 4, 4)),
        ("far", 75, 1, 80, (16, 16, 16)),
        pytest.param("blobs", 203, 2, 1, (32, 32, 16), marks=pytest.mark.slow),
        pytest.param("blobs", 161, 20, 5, (32, 16, 32), marks=pytest.mark.slow),
        pytest.param("grid", 190, 3, 4, (32, 16, 16), marks=pytest.mark.slow),
    ],
)
def test_tree_of_many_blocks_has_the_weights_of_the_torch_version(
    set_block, use_kernel, kind, samples, size, neighbours, tile
):
    set_block(*tile)
    check_tree(draw_points(kind, samples, size), neighbours, use_kernel)


@pytest.mark.parametrize(
    ("kind", "samples", "neighbours"),
    [("blobs", 2, 1), ("grid", 258, 3), pytest.param("blobs", 600, 10, marks=pytest.mark.slow)],
)
def test_tree_of_whole_blocks_has_the_weights_of_the_torch_version(use_kernel, kind, samples, neighbours):
    check_tree(draw_points(kind, samples, 3), neighbours, use_kernel)


@pytest.mark.parametrize(
    ("kind", "samples", "size", "neighbours"),
    [
        ("blobs", 150, 2, 1),
        ("grid", 150, 2, 5),
        pytest.param("blobs", 260, 16, 8, marks=pytest.mark.slow),
        pytest.param("uniform", 200, 4, 3, marks=pytest.mark.slow),
    ],
)
def test_clusters_are_those_of_the_torch_version(set_block, use_kernel, kind, samples, size, neighbours):
    set_block(64, 32, 64)
    points_ND = draw_points(kind, samples, size)
    config = DiscoverConfig(min_cluster_fraction=0.05, min_samples=neighbours)
    expected = cluster_torch_hdbscan(points_ND, config, 0)
    use_kernel()
    found = cluster_torch_hdbscan(points_ND, config, 0)
    np.testing.assert_array_equal(found.labels < 0, expected.labels < 0)
    assert adjusted_rand_score(expected.labels, found.labels) == 1.0
    np.testing.assert_allclose(found.probability, expected.probability, rtol=1e-5)


def test_order_of_the_programs_changes_no_weight(set_block, monkeypatch):
    set_block(16, 16, 16)
    blocks = sort_into_blocks(draw_points("blobs", 45, 2))
    core_N = compute_core_distances(blocks, 3)
    weights = []
    for arrange in (lambda order: order, lambda order: order.flip(0), lambda order: order.roll(3)):
        monkeypatch.setattr(
            spanning_tree,
            "choose_search",
            lambda points_ND, arrange=arrange: (
                lambda blocks, search, order_B: kernels.search_round(blocks, search, arrange(order_B))
            ),
        )
        weights.append(np.sort(span_mutual_reachability(blocks, core_N)[1]))
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[0], weights[2])


class BlindLauncher:
    """Runs each block's programs on what components had found before the launch, as if all ran at once."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.names = kernel.arg_names

    def __getitem__(self, grid):
        def launch(*arguments, **keywords):
            given = dict(zip(self.names, arguments, strict=False)) | keywords
            before, found = given["best_ptr"].clone(), given["best_ptr"]
            for block in given["order_ptr"].split(1):
                given |= {"order_ptr": block, "best_ptr": before.clone()}
                self.kernel[(1, grid[1])](**given)
                found.copy_(found.minimum(given["best_ptr"]))

        return launch


def test_programs_that_see_nothing_of_each_other_make_the_same_tree(set_block, use_kernel, monkeypatch):
    set_block(16, 8, 16)
    monkeypatch.setattr(kernels, "_search_kernel", BlindLauncher(kernels._search_kernel))
    check_tree(draw_points("blobs", 60, 2), 3, use_kernel)


POINTS = torch.arange(75)  # with fewer, no search ends before it has found what it looks for
COMPONENTS = {
    "single": POINTS,
    "within_blocks": POINTS // 9,
    "across_blocks": POINTS // 24,
    "two": POINTS // 40,
    "island": torch.isin(POINTS, torch.arange(16, 31)).long(),  # a block but one point, amid blocks of the other
}


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("components", COMPONENTS)
def test_round_leaves_the_lightest_edge_of_a_point_or_a_bound_below_it(set_block, components, size):
    set_block(16, 8, 8)
    blocks = sort_into_blocks(draw_points("uniform", len(POINTS), size))
    core_N = compute_core_distances(blocks, 2)
    component_N = COMPONENTS[components]
    search = Search(core_N, core_N.clone(), POINTS.clone(), component_N)
    kernels.search_round(blocks, search, torch.arange(blocks.count))
    reach = measure(blocks.points_ND, blocks.points_ND).maximum(core_N[:, None]).maximum(core_N)
    reach.masked_fill_(component_N[:, None] == component_N, torch.inf)
    least_N = reach.amin(1)
    is_known_N = search.is_known_N
    torch.testing.assert_close(search.bound_N[is_known_N], least_N[is_known_N], rtol=1e-6, atol=0)
    torch.testing.assert_close(reach[POINTS, search.end_N][is_known_N], least_N[is_known_N], rtol=1e-6, atol=0)
    assert (search.bound_N <= least_N * (1 + 1e-6)).all()
    least_C = torch.stack([least_N[component_N == one].min() for one in range(len(search.best_C))])
    torch.testing.assert_close(search.best_C, least_C, rtol=1e-6, atol=0)
    is_best_N = is_known_N & (search.bound_N == search.best_C[component_N])
    assert set(component_N[is_best_N].tolist()) == set(component_N.tolist())


def surround(values):
    """A copy of a tensor that lies amid sentinels, and the function that checks them."""
    whole = torch.full((len(values) + 20,), SENTINEL).to(values.dtype)
    whole[10:-10] = values
    return whole[10:-10], lambda: bool((whole[:10] == SENTINEL).all() and (whole[-10:] == SENTINEL).all())


def test_kernel_writes_its_results_and_nothing_else(set_block):
    """One round, of which some points are known and the last block is not full."""
    set_block(16, 8, 8)
    blocks = sort_into_blocks(draw_points("blobs", 59, 3))
    core_N = compute_core_distances(blocks, 2)
    component_N = torch.arange(59) // 5
    bound_N, end_N = core_N.clone(), torch.arange(59)
    bound_N[::10], end_N[::10] = 1.0, end_N[::10].roll(1)  # of another component: known
    expected = Search(core_N, bound_N.clone(), end_N.clone(), component_N)
    order_B = torch.arange(blocks.count)
    spanning_tree.search_round(blocks, expected, order_B)

    (core_N, *rest), checks = zip(*(surround(one) for one in (core_N, bound_N, end_N, component_N)), strict=True)
    search = Search(core_N, *rest)
    search.best_C, check = surround(search.best_C)
    inputs = [blocks.points_ND, blocks.near, blocks.gap, search.core_N, search.component_N, search.pure_B, order_B]
    copies = [one.clone() for one in inputs]
    kernels.search_round(blocks, search, order_B)
    assert all(check() for check in (*checks, check))
    assert all(torch.equal(one, copy) for one, copy in zip(inputs, copies, strict=True))
    torch.testing.assert_close(search.best_C, expected.best_C, rtol=1e-6, atol=0)
    assert torch.equal(search.bound_N[::10], torch.ones(6))


def test_distance_that_is_not_finite_ends_the_search(use_kernel):
    blocks = sort_into_blocks(torch.tensor([[0.0], [1.0], [torch.inf]]))
    use_kernel()
    with pytest.raises(AssertionError, match="a distance is not finite"):
        span_mutual_reachability(blocks, compute_core_distances(blocks, 1))
