"""Compute the mean Euclidean distance of vectors without the matrix of distances, forward and backward.

N vectors of this rank, the rows; M vectors of all ranks, the columns; K subspaces, D latent size. Distances are
computed from differences, as in compute_normalizer. In a tile [D, N, M] each thread holds the whole axis that is
summed.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, library
from torch.library import triton_op
from triton.runtime import JITFunction

BLOCK = 16  # rows, columns or features of a tile of 4096 values
PROGRAMS = 1024  # as in pair_measures.py
WEIGHTS = 2**23  # values of the matrix that the backward pass holds at once: 32 MB, which fit a large GPU's cache


def wrap_triton(kernel: Any) -> Any:
    """Return the kernel as torch.compile traces it. An interpreted one stays, because torch 2.11 refuses to wrap it."""
    return library.wrap_triton(kernel) if isinstance(kernel, JITFunction) else kernel


@triton.jit
def _distance_kernel(  # type: ignore[no-untyped-def]
    rows_ptr,
    columns_ptr,
    sums_ptr,
    inverse_ptr,
    first,
    N,
    M,
    K,
    D,
    row_stride_n,
    row_stride_k,
    row_stride_d,
    column_stride_n,
    column_stride_k,
    column_stride_d,
    tiles,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute partial sums [split, N, K] or inverses [K, N, M], 0 at 0, of distances for the N rows from `first` on."""
    dtype = sums_ptr.dtype.element_ty if inverse_ptr is None else inverse_ptr.dtype.element_ty
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    k, split = tl.program_id(1).to(tl.int64), tl.program_id(2)
    rows_ptr += k * row_stride_k
    columns_ptr += k * column_stride_k
    sums_N = tl.zeros([BLOCK_N], dtype)
    for tile in range(tiles):
        m = (split * tiles + tile) * BLOCK_M + tl.arange(0, BLOCK_M)
        squared_NM = tl.zeros([BLOCK_N, BLOCK_M], dtype)
        for start in range(0, D, BLOCK_D):
            d = start + tl.arange(0, BLOCK_D)
            row_DN = d[:, None].to(tl.int64) * row_stride_d + (first + n)[None, :].to(tl.int64) * row_stride_n
            row_DN = tl.load(rows_ptr + row_DN, mask=(d < D)[:, None] & (n < N)[None, :], other=0.0).to(dtype)
            column_DM = d[:, None].to(tl.int64) * column_stride_d + m[None, :].to(tl.int64) * column_stride_n
            column_DM = tl.load(columns_ptr + column_DM, mask=(d < D)[:, None] & (m < M)[None, :], other=0.0).to(dtype)
            between_DNM = row_DN[:, :, None] - column_DM[:, None, :]
            squared_NM += tl.sum(between_DNM * between_DNM, 0)
        inside_NM = (n < N)[:, None] & (m < M)[None, :]
        if inverse_ptr is None:
            sums_N += tl.sum(tl.where(inside_NM, tl.sqrt(squared_NM), 0.0), 1)
        else:
            inverse_NM = tl.where(squared_NM > 0, 1 / tl.sqrt(tl.where(squared_NM > 0, squared_NM, 1.0)), 0.0)
            tl.store(inverse_ptr + (k * N + n[:, None]) * M + m[None, :], inverse_NM, mask=inside_NM)
    if inverse_ptr is None:
        tl.store(sums_ptr + (split.to(tl.int64) * N + n) * K + k, sums_N, mask=n < N)


@triton.jit
def _direction_kernel(  # type: ignore[no-untyped-def]
    rows_ptr,
    columns_ptr,
    inverse_ptr,
    sums_ptr,
    gradient_ptr,
    first,
    N,
    M,
    K,
    D,
    row_stride_n,
    row_stride_k,
    row_stride_d,
    column_stride_n,
    column_stride_k,
    column_stride_d,
    gradient_stride_n,
    gradient_stride_k,
    gradient_stride_d,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute the gradient of the N rows from `first` on.

    It is the gradient of their sums [., K] times the sum of unit vectors from all columns.
    """
    dtype = sums_ptr.dtype.element_ty
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    k = tl.program_id(2).to(tl.int64)
    rows_ptr += k * row_stride_k
    columns_ptr += k * column_stride_k
    image = (first + n).to(tl.int64)
    inside_ND = (n < N)[:, None] & (d < D)[None, :]
    row_ND = image[:, None] * row_stride_n + d[None, :].to(tl.int64) * row_stride_d
    row_ND = tl.load(rows_ptr + row_ND, mask=inside_ND, other=0.0).to(dtype)
    direction_ND = tl.zeros([BLOCK_N, BLOCK_D], dtype)
    for start in range(0, M, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        column_MD = m[:, None].to(tl.int64) * column_stride_n + d[None, :].to(tl.int64) * column_stride_d
        column_MD = tl.load(columns_ptr + column_MD, mask=(m < M)[:, None] & (d < D)[None, :], other=0.0).to(dtype)
        inverse_MN = (k * N + n[None, :]) * M + m[:, None]
        inverse_MN = tl.load(inverse_ptr + inverse_MN, mask=(m < M)[:, None] & (n < N)[None, :], other=0.0)
        direction_ND += tl.sum(inverse_MN[:, :, None] * (row_ND[None, :, :] - column_MD[:, None, :]), 0)
    sums_N = tl.load(sums_ptr + image * K + k, mask=n < N, other=0.0)
    written_ND = image[:, None] * gradient_stride_n + d[None, :].to(tl.int64) * gradient_stride_d
    tl.store(gradient_ptr + k * gradient_stride_k + written_ND, sums_N[:, None] * direction_ND, mask=inside_ND)


@triton_op("detaux::sum_distances", mutates_args={})
def sum_distances(rows_NKD: Tensor, columns_MKD: Tensor) -> Tensor:
    """Sum each row's distances to all columns in each subspace, [N, K], in float32 or wider.

    Gradient: to rows_NKD, 0 from a column that coincides; the columns are constants.
    """
    (rows, subspaces, latent), columns = rows_NKD.shape, len(columns_MKD)
    blocks, tiles = triton.cdiv(int(rows), BLOCK), triton.cdiv(int(columns), BLOCK)
    splits = min(tiles, triton.cdiv(PROGRAMS, blocks * int(subspaces)))
    tiles = triton.cdiv(tiles, splits)
    splits = triton.cdiv(int(columns), BLOCK * tiles)
    dtype = torch.promote_types(rows_NKD.dtype, torch.float32)
    sums = rows_NKD.new_empty(splits, rows, subspaces, dtype=dtype)
    wrap_triton(_distance_kernel)[(blocks, subspaces, splits)](
        rows_NKD,
        columns_MKD,
        sums,
        None,
        0,
        rows,
        columns,
        subspaces,
        latent,
        *rows_NKD.stride(),
        *columns_MKD.stride(),
        tiles,
        BLOCK_N=BLOCK,
        BLOCK_M=BLOCK,
        BLOCK_D=BLOCK,
    )
    return sums.sum(0)


@triton_op("detaux::sum_distances_backward", mutates_args={})
def sum_distances_backward(sums_NK: Tensor, rows_NKD: Tensor, columns_MKD: Tensor) -> Tensor:
    """Compute the gradient to rows_NKD, in its dtype and layout, from that of the sums of sum_distances.

    Rows are taken in blocks, so that at most WEIGHTS inverse distances, or those of BLOCK rows, exist at a time.
    """
    (rows, subspaces, latent), columns = rows_NKD.shape, len(columns_MKD)
    sums_NK = sums_NK.contiguous()
    gradient_NKD = torch.empty_like(rows_NKD)
    step = BLOCK * max(1, WEIGHTS // (int(subspaces) * int(columns) * BLOCK))
    for first in range(0, int(rows), step):
        held = min(step, int(rows) - first)
        inverse_KNM = sums_NK.new_empty(subspaces, held, columns)
        sizes = (first, held, columns, subspaces, latent, *rows_NKD.stride(), *columns_MKD.stride())
        blocks = {"BLOCK_N": BLOCK, "BLOCK_M": BLOCK, "BLOCK_D": BLOCK}
        wrap_triton(_distance_kernel)[(triton.cdiv(held, BLOCK), subspaces, triton.cdiv(columns, BLOCK))](
            rows_NKD, columns_MKD, None, inverse_KNM, *sizes, 1, **blocks
        )
        wrap_triton(_direction_kernel)[(triton.cdiv(held, BLOCK), triton.cdiv(latent, BLOCK), subspaces)](
            rows_NKD, columns_MKD, inverse_KNM, sums_NK, gradient_NKD, *sizes, *gradient_NKD.stride(), **blocks
        )
    return gradient_NKD


def _save_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, sums_NK: Tensor) -> tuple[Tensor, None]:
    return sum_distances_backward(sums_NK, *ctx.saved_tensors), None


sum_distances.register_autograd(_backward, setup_context=_save_context)
