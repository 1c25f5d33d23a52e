"""Search a round of the spanning tree in one launch, because the torch version waits for the device at every tile.

N points, D size of a vector, B blocks, C components, R rows of a program, all of one block, M columns of a tile.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn.functional import pad

from detaux.discover.clusterers import blocks as point_blocks
from detaux.discover.clusterers.blocks import PointBlocks, Search

ROWS = 32  # of a program: with 64 columns a tile has 2048 distances, 16 a thread, and spills no register
COLUMNS = 64


@triton.jit
def _measure(points_ptr, row_R, column_M, N, D, R: tl.constexpr, M: tl.constexpr):  # type: ignore[no-untyped-def]
    """Compute distances [R, M] between points of [D, N] from differences. Rows past the last point count as 0."""
    squared_RM = tl.zeros([R, M], tl.float32)
    for _ in range(D):
        value_R = tl.load(points_ptr + row_R, mask=row_R < N, other=0.0)
        value_M = tl.load(points_ptr + column_M, mask=column_M < N, other=0.0)
        between_RM = value_R[:, None] - value_M[None, :]
        squared_RM += between_RM * between_RM
        points_ptr += N
    return tl.sqrt_rn(squared_RM)


@triton.jit
def _search_kernel(  # type: ignore[no-untyped-def]
    points_ptr,
    near_ptr,
    gap_ptr,
    order_ptr,
    open_ptr,
    opened_ptr,
    pure_ptr,
    core_ptr,
    component_ptr,
    bound_ptr,
    end_ptr,
    before_ptr,
    best_ptr,
    blocks,
    N,
    D,
    BLOCK: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """Update bound [N] and end [N] of R open rows, and best [C] with them.

    open [B, BLOCK] are the rows of each block, the `opened` [B] open ones first. before [C] is best at the launch. All
    programs lower best together, as bits. Only scalar atomics read it, because their result is the same for all threads
    of a program. Threads that load it themselves may read different values and diverge at the loop.
    """
    TILES: tl.constexpr = BLOCK // BLOCK_M
    block = tl.load(order_ptr + tl.program_id(0))
    place_R = tl.program_id(1) * BLOCK_R + tl.arange(0, BLOCK_R)
    is_open_R = place_R < tl.load(opened_ptr + block)
    row_R = tl.load(open_ptr + block * BLOCK + place_R, mask=is_open_R, other=0).to(tl.int32)
    mine_R = tl.load(component_ptr + row_R, mask=is_open_R, other=0).to(tl.int32)
    core_R = tl.load(core_ptr + row_R, mask=is_open_R, other=0.0)
    bound_R = tl.load(bound_ptr + row_R, mask=is_open_R, other=0.0)
    limit_R = tl.load(before_ptr + mine_R, mask=is_open_R, other=0.0)  # an edge of the same weight is of no use
    found_R, end_R = tl.full([BLOCK_R], float("inf"), tl.float32), row_R
    first, last = tl.min(tl.where(is_open_R, mine_R, N), 0), tl.max(tl.where(is_open_R, mine_R, -1), 0)
    if first == last:
        lightest = tl.full([], float("inf"), tl.float32)
        best = tl.atomic_min(best_ptr + first, lightest.to(tl.int32, bitcast=True), sem="relaxed")
        limit_R = tl.minimum(limit_R, best.to(tl.float32, bitcast=True))
        is_open_R = is_open_R & (bound_R < limit_R)
    limit = tl.max(tl.where(is_open_R, limit_R, 0.0), 0)
    near_ptr += block * blocks
    gap_ptr += block * blocks
    tile = 0
    reached = tl.load(gap_ptr)  # no block from here on is nearer
    while (tile < blocks * TILES) & (reached < limit):
        other = tl.load(near_ptr + tile // TILES).to(tl.int32)
        if (first == last) & (tl.load(pure_ptr + other) == first):
            tile += TILES  # all its points are of the same component
        else:
            column_M = other * BLOCK + tile % TILES * BLOCK_M + tl.arange(0, BLOCK_M)
            core_M = tl.load(core_ptr + column_M, mask=column_M < N, other=float("inf"))
            theirs_M = tl.load(component_ptr + column_M, mask=column_M < N, other=-1).to(tl.int32)
            distance_RM = _measure(points_ptr, row_R, column_M, N, D, BLOCK_R, BLOCK_M)
            reach_RM = tl.maximum(distance_RM, tl.maximum(core_R[:, None], core_M[None, :]))
            reach_RM = tl.where(mine_R[:, None] == theirs_M[None, :], float("inf"), reach_RM)
            lightest_R, nearest_R = tl.min(reach_RM, 1, return_indices=True)
            is_lighter_R = lightest_R < found_R
            found_R = tl.where(is_lighter_R, lightest_R, found_R)
            end_R = tl.where(is_lighter_R, other * BLOCK + tile % TILES * BLOCK_M + nearest_R, end_R)
            if first == last:
                lightest = tl.min(tl.where(is_open_R, found_R, float("inf")), 0)
                best = tl.atomic_min(best_ptr + first, lightest.to(tl.int32, bitcast=True), sem="relaxed")
                limit_R = tl.minimum(limit_R, best.to(tl.float32, bitcast=True))
            else:
                is_best_R = is_open_R & (found_R < limit_R)
                tl.atomic_min(best_ptr + mine_R, found_R.to(tl.int32, bitcast=True), mask=is_best_R, sem="relaxed")
            limit_R = tl.minimum(limit_R, found_R)
            limit = tl.max(tl.where(is_open_R, limit_R, 0.0), 0)
            tile += 1
        reached = tl.load(gap_ptr + tile // TILES, mask=tile < blocks * TILES, other=float("inf"))
    # an edge that was not found, or is longer than the gap to the rest, gives only a lower bound
    is_found_R = found_R <= reached
    tl.store(bound_ptr + row_R, tl.where(is_found_R, found_R, tl.maximum(bound_R, reached)), mask=is_open_R)
    tl.store(end_ptr + row_R, tl.where(is_found_R, end_R, row_R), mask=is_open_R)


def search_round(blocks: PointBlocks, search: Search, order_B: Tensor) -> None:
    """Do the same as search_round of spanning_tree.py in the folder above. Programs start in the order of `order_B`.

    Programs share what a component has found. Whatever they see of it, a search ends only if no later edge is lighter
    than an edge that some program holds. So the lightest edge of each component is found in any order.
    """
    block = point_blocks.BLOCK
    count, size = blocks.points_ND.shape
    is_open_N = ~search.is_known_N & (search.bound_N < search.best_C[search.component_N])
    # open rows come first, sorted by component: programs of one component end as soon as any finds its best
    component_N = search.component_N.where(is_open_N, count)
    key_BM = pad(component_N, (0, blocks.count * block - count), value=count).view(blocks.count, block)
    open_BM = key_BM.argsort(1) + block * torch.arange(blocks.count, device=key_BM.device)[:, None]
    rows, columns = min(ROWS, block), min(COLUMNS, block)
    _search_kernel[(blocks.count, block // rows)](
        blocks.points_ND.T.contiguous(),
        blocks.near,
        blocks.gap,
        order_B,
        open_BM,
        (key_BM < count).sum(1),
        search.pure_B,
        search.core_N,
        search.component_N,
        search.bound_N,
        search.end_N,
        search.best_C.clone(),
        search.best_C.view(torch.int32),  # weights are never negative, so their bits have the same order
        blocks.count,
        count,
        size,
        BLOCK=block,
        BLOCK_R=rows,
        BLOCK_M=columns,
    )
