"""Compute the exact minimum spanning tree of mutual reachability (Campello, Moulavi and Sander 2013) on any device.

N points, D size of a vector, B blocks of neighbouring points, C components, M points of a block. Distances are computed
a tile at a time, those of near blocks first, and none is kept, so memory is O(N) and B x B. Only the order of the
points and the edges that each round finds are copied to the host.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from detaux.discover.clusterers.blocks import PointBlocks, Search
from detaux.discover.clusterers.disjoint import find_root, number_sets
from detaux.discover.clusterers.distances import measure
from detaux.discover.clusterers.limit import check_limit
from detaux.runtime.device import has_triton

TILE_BLOCKS = 8  # blocks that a block is compared with at a time
HAS_TRITON = has_triton()


def compute_core_distances(blocks: PointBlocks, neighbours: int) -> Tensor:
    """Compute the distance of each point to its `neighbours`-th nearest other point, [N].

    If there are fewer other points, it is the distance to the farthest.
    """
    points_ND = blocks.points_ND
    kept = min(neighbours, len(points_ND) - 1) + 1  # the point itself is the first
    core_N = points_ND.new_empty(len(points_ND))
    for block in range(blocks.count):
        check_limit()
        rows = blocks.rows(block)
        nearest = points_ND.new_empty(len(points_ND[rows]), 0)
        for begin in range(0, blocks.count, TILE_BLOCKS):
            if nearest.shape[1] == kept and bool(blocks.gap[block, begin] >= nearest[:, -1].max()):
                break
            columns, is_past = blocks.gather(blocks.near[block, begin : begin + TILE_BLOCKS])
            found = measure(points_ND[rows], points_ND[columns]).masked_fill_(is_past, torch.inf)
            distances = torch.cat([nearest, found], 1)
            nearest = distances.topk(min(kept, distances.shape[1]), largest=False).values
        core_N[rows] = nearest[:, -1]
    return core_N


def span_mutual_reachability(blocks: PointBlocks, core_N: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of the tree, int64 [N - 1, 2], and their weights float64 [N - 1].

    An edge names rows before sorting into blocks. A weight is the largest of the distance and both core distances,
    which must be finite. In Boruvka's rounds every component takes its lightest edge to another. A point's lightest
    edge to another component only gets heavier as components grow, so an earlier weight is a lower bound. The edge is
    computed again only if its end has joined the point's component and the bound is below the lightest edge that the
    component has found.
    """
    count, device = len(core_N), core_N.device
    bound_N, end_N = core_N.clone(), torch.arange(count, device=device)  # a point that is its own end has no edge yet
    above = list(range(count))
    edges: list[tuple[int, int]] = []
    weights: list[float] = []
    while len(edges) < count - 1:
        check_limit()
        search = Search(core_N, bound_N, end_N, torch.from_numpy(number_sets(above)).to(device))
        found_C, known = _find_lightest(blocks, search), len(edges)
        starts, ends = found_C.tolist(), end_N[found_C].tolist()
        for start, end, weight in zip(starts, ends, bound_N[found_C].tolist(), strict=True):
            one, other = find_root(above, start), find_root(above, end)
            if one != other:  # two components may take the same edge, or several edges of one weight may close a circle
                above[one] = other
                edges.append((start, end))
                weights.append(weight)
        assert len(edges) > known, "no component has an edge to another: a distance is not finite"
    return blocks.order.cpu().numpy()[np.array(edges, dtype=np.int64).reshape(-1, 2)], np.array(weights)


def _find_lightest(blocks: PointBlocks, search: Search) -> Tensor:
    """Return the start of each component's lightest edge to another component, [C].

    This updates `search` as far as it needs to.
    """
    # blocks with the smallest bounds first, because what they find may spare a search of the others
    choose_search(blocks.points_ND)(blocks, search, search.least_bound_B.argsort())
    is_best_N = search.is_known_N & (search.bound_N == search.best_C[search.component_N])
    points = torch.nonzero(is_best_N).squeeze(1)
    # any one of several equally light edges
    return points.new_zeros(len(search.best_C)).scatter_(0, search.component_N[points], points)


def choose_search(points_ND: Tensor) -> Callable[[PointBlocks, Search, Tensor], None]:
    """Return the search of a round: a kernel if the points are float32 on a GPU with Triton, else search_round."""
    if points_ND.device.type == "cuda" and points_ND.dtype == torch.float32 and HAS_TRITON:
        from detaux.discover.clusterers.kernels import spanning_tree  # imports triton, which a CPU does without

        return spanning_tree.search_round
    return search_round


def search_round(blocks: PointBlocks, search: Search, order_B: Tensor) -> None:
    """Find each point's lightest edge to another component if its component needs it, in this order of the blocks."""
    is_known_N = search.is_known_N
    for block in order_B.tolist():
        check_limit()
        rows = blocks.rows(block)
        is_open = ~is_known_N[rows] & (search.bound_N[rows] < search.best_C[search.component_N[rows]])
        open_M = torch.nonzero(is_open).squeeze(1) + rows.start
        if len(open_M):
            _search_block(blocks, search, block, open_M)


def _search_block(blocks: PointBlocks, search: Search, block: int, open_M: Tensor) -> None:
    """Find the lightest edges of M points of a block, as long as one may be lighter than its component's best."""
    near, gap, mine_M = blocks.near[block], blocks.gap[block], search.component_N[open_M]
    if int(search.pure_B[block]) >= 0:
        is_other = search.pure_B[near] != search.pure_B[block]
        near, gap = near[is_other], gap[is_other]
    found_M, found_end_M = search.bound_N.new_full((len(open_M),), torch.inf), open_M.clone()
    reached = torch.inf  # no block from here on is nearer
    for begin in range(0, len(near), TILE_BLOCKS):
        limit_M = found_M.minimum(search.best_C[mine_M])
        if bool((gap[begin] >= limit_M).all()):
            reached = float(gap[begin])
            break
        columns, _ = blocks.gather(near[begin : begin + TILE_BLOCKS])
        reach = measure(blocks.points_ND[open_M], blocks.points_ND[columns])
        reach = reach.maximum(search.core_N[open_M, None]).maximum(search.core_N[columns])
        reach.masked_fill_(mine_M[:, None] == search.component_N[columns], torch.inf)
        lightest_M, column_M = reach.min(1)
        is_lighter = lightest_M < found_M
        found_M = lightest_M.where(is_lighter, found_M)
        found_end_M = columns[column_M].where(is_lighter, found_end_M)
        search.best_C.scatter_reduce_(0, mine_M, found_M, "amin")
    # an edge that was not found, or is longer than the gap to the rest, gives only a lower bound
    is_found = found_M <= reached
    search.bound_N[open_M] = found_M.where(is_found, search.bound_N[open_M].clamp_min(reached))
    search.end_N[open_M] = found_end_M.where(is_found, open_M)
