"""Fuse measure_pairs: one sweep over the projections forward, one backward. The losses' README.md derives the gradient.

N images in C chains of L + 1, laid out link after link, so that pair b is the images b and b + C; B = L C pairs,
K subspaces, D latent size. A program holds a tile of chains x all subspaces x a block of features and walks along the
chains. It keeps the previous image in registers, so every value is read once and no two programs write to one place.
If several programs share a sum over features or images, each writes a part, and torch adds the parts in a fixed order.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import triton_op

from detaux.losses.kernels.pair_distances import sum_distances, wrap_triton
from detaux.losses.numerics import safe_sqrt, widen
from detaux.losses.oracle import EPSILON
from detaux.losses.pair_measures import PairMeasures
from detaux.runtime.collectives import gather_rows, global_mean

TILE = 2048  # values of a tile: 16 a thread, and as many of the previous image
LEAST_TILE = 512  # four a thread
LEAST_BLOCK = 16  # features of a tile, however many subspaces there are
PROGRAMS = 1024  # a few for each multiprocessor of a large GPU; more would only lengthen the partial sums


@triton.jit
def _measure_kernel(  # type: ignore[no-untyped-def]
    subspaces_ptr,
    squared_ptr,
    overlap_ptr,
    radius_ptr,
    offset_ptr,
    links,
    chains,
    K,
    D,
    stride_n,
    stride_k,
    stride_d,
    tiles,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute partial sums squared [split, B, K], overlap [split, N], radius [split, N, K] and offset [group, K, D].

    radius is about the origin. If there is an offset, both are about the first image. What is None is not computed.
    """
    dtype = squared_ptr.dtype.element_ty
    group, split = tl.program_id(0), tl.program_id(1)
    k, d = tl.arange(0, BLOCK_K), split * BLOCK_D + tl.arange(0, BLOCK_D)
    inside_KD = (k < K)[:, None] & (d < D)[None, :]
    place_KD = k[:, None].to(tl.int64) * stride_k + d[None, :].to(tl.int64) * stride_d
    if offset_ptr is not None:
        centre_KD = tl.load(subspaces_ptr + place_KD, mask=inside_KD, other=0.0).to(dtype)
        offset_KD = tl.zeros([BLOCK_K, BLOCK_D], dtype)
    for tile in range(tiles):
        c = (group * tiles + tile) * BLOCK_C + tl.arange(0, BLOCK_C)
        inside_CK = (c < chains)[:, None] & (k < K)[None, :]
        inside_CKD = (c < chains)[:, None, None] & inside_KD[None, :, :]
        before_CKD = tl.zeros([BLOCK_C, BLOCK_K, BLOCK_D], dtype)
        for link in range(links + 1):
            n = (link * chains + c).to(tl.int64)
            place_CKD = n[:, None, None] * stride_n + place_KD[None, :, :]
            value_CKD = tl.load(subspaces_ptr + place_CKD, mask=inside_CKD, other=0.0).to(dtype)

            others_CKD = tl.sum(value_CKD, 1)[:, None, :] - value_CKD
            overlap_C = tl.sum(tl.sum(tl.abs(value_CKD * others_CKD), 1), 1)
            row = split.to(tl.int64) * (links + 1) * chains + n
            tl.store(overlap_ptr + row, overlap_C, mask=c < chains)

            if radius_ptr is not None:
                away_CKD = value_CKD
                if offset_ptr is not None:
                    away_CKD = tl.where(inside_CKD, value_CKD - centre_KD[None, :, :], 0.0)
                    offset_KD += tl.sum(away_CKD, 0)
                radius_CK = tl.sum(away_CKD * away_CKD, 2)
                tl.store(radius_ptr + row[:, None] * K + k[None, :], radius_CK, mask=inside_CK)

            step_CKD = value_CKD - before_CKD
            squared_CK = tl.sum(step_CKD * step_CKD, 2)
            pair = split.to(tl.int64) * links * chains + n - chains
            tl.store(squared_ptr + pair[:, None] * K + k[None, :], squared_CK, mask=inside_CK & (link > 0))
            before_CKD = value_CKD
    if offset_ptr is not None:
        place_KD = (group.to(tl.int64) * K + k[:, None]) * D + d[None, :]
        tl.store(offset_ptr + place_KD, offset_KD, mask=inside_KD)


@triton.jit
def _measure_backward_kernel(  # type: ignore[no-untyped-def]
    subspaces_ptr,
    gradient_ptr,
    squared_ptr,
    overlap_ptr,
    radius_ptr,
    offset_ptr,
    links,
    chains,
    K,
    D,
    stride_n,
    stride_k,
    stride_d,
    gradient_stride_n,
    gradient_stride_k,
    gradient_stride_d,
    tiles,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute gradient [N, K, D] from those of squared [B, K], overlap [N], radius [N, K] and offset [K, D].

    An image's gradient is complete and written when the walk has read the next image.
    """
    dtype = squared_ptr.dtype.element_ty
    group, split = tl.program_id(0), tl.program_id(1)
    k, d = tl.arange(0, BLOCK_K), split * BLOCK_D + tl.arange(0, BLOCK_D)
    inside_KD = (k < K)[:, None] & (d < D)[None, :]
    place_KD = k[:, None].to(tl.int64) * stride_k + d[None, :].to(tl.int64) * stride_d
    written_KD = k[:, None].to(tl.int64) * gradient_stride_k + d[None, :].to(tl.int64) * gradient_stride_d
    if offset_ptr is not None:
        centre_KD = tl.load(subspaces_ptr + place_KD, mask=inside_KD, other=0.0).to(dtype)
        offset_KD = tl.load(offset_ptr + k[:, None] * D + d[None, :], mask=inside_KD, other=0.0)
    for tile in range(tiles):
        c = (group * tiles + tile) * BLOCK_C + tl.arange(0, BLOCK_C)
        inside_CK = (c < chains)[:, None] & (k < K)[None, :]
        inside_CKD = (c < chains)[:, None, None] & inside_KD[None, :, :]
        before_CKD = tl.zeros([BLOCK_C, BLOCK_K, BLOCK_D], dtype)
        pending_CKD = tl.zeros([BLOCK_C, BLOCK_K, BLOCK_D], dtype)
        for link in range(links + 1):
            n = (link * chains + c).to(tl.int64)
            place_CKD = n[:, None, None] * stride_n + place_KD[None, :, :]
            value_CKD = tl.load(subspaces_ptr + place_CKD, mask=inside_CKD, other=0.0).to(dtype)

            place_CK = squared_ptr + (n - chains)[:, None] * K + k[None, :]
            squared_CK = tl.load(place_CK, mask=inside_CK & (link > 0), other=0.0)
            pull_CKD = 2 * squared_CK[:, :, None] * (value_CKD - before_CKD)
            written_CKD = gradient_ptr + (n - chains)[:, None, None] * gradient_stride_n + written_KD[None, :, :]
            tl.store(written_CKD, pending_CKD - pull_CKD, mask=inside_CKD & (link > 0))

            others_CKD = tl.sum(value_CKD, 1)[:, None, :] - value_CKD
            shared_CKD = value_CKD * others_CKD
            sign_CKD = (shared_CKD > 0).to(dtype) - (shared_CKD < 0).to(dtype)
            signed_CKD = sign_CKD * value_CKD
            overlap_C = tl.load(overlap_ptr + n, mask=c < chains, other=0.0)
            slope_CKD = sign_CKD * others_CKD + tl.sum(signed_CKD, 1)[:, None, :] - signed_CKD
            pending_CKD = pull_CKD + overlap_C[:, None, None] * slope_CKD

            if radius_ptr is not None:
                radius_CK = tl.load(radius_ptr + n[:, None] * K + k[None, :], mask=inside_CK, other=0.0)
                away_CKD = value_CKD
                if offset_ptr is not None:
                    away_CKD = value_CKD - centre_KD[None, :, :]
                    pending_CKD += offset_KD[None, :, :]
                pending_CKD += 2 * radius_CK[:, :, None] * away_CKD
            before_CKD = value_CKD
        n = (links * chains + c).to(tl.int64)
        written_CKD = gradient_ptr + n[:, None, None] * gradient_stride_n + written_KD[None, :, :]
        tl.store(written_CKD, pending_CKD, mask=inside_CKD)


class Tiling(NamedTuple):
    """Hold how a launch is cut: sides of a tile (powers of two), tiles for each program, programs over chains and D."""

    chains: int
    subspaces: int
    latent: int
    tiles: int
    groups: int
    splits: int


def choose_tiling(chains: int, subspaces: int, latent: int) -> Tiling:
    """Choose tiles of all subspaces, of as many features as fit, and then of chains.

    A tile takes as many chains as leave about PROGRAMS tiles, if they fit. If more tiles are left, a program walks
    several.
    """
    chains, subspaces, latent = int(chains), int(subspaces), int(latent)  # a compiled graph is for one size
    block_k = triton.next_power_of_2(subspaces)
    block_d = min(triton.next_power_of_2(latent), max(LEAST_BLOCK, TILE // block_k))
    splits = triton.cdiv(latent, block_d)
    shared = max(triton.cdiv(chains * splits, PROGRAMS), LEAST_TILE // (block_k * block_d))
    fitting = max(1, TILE // (block_k * block_d))
    block_c = min(triton.next_power_of_2(chains), triton.next_power_of_2(shared), fitting)
    blocks = triton.cdiv(chains, block_c)
    tiles = triton.cdiv(blocks, max(1, PROGRAMS // splits))
    return Tiling(block_c, block_k, block_d, tiles, triton.cdiv(blocks, tiles), splits)


def _add_parts(parts: Tensor) -> Tensor:
    return parts[0] if len(parts) == 1 else parts.sum(0)


@triton_op("detaux::measure_pairs", mutates_args={})
def measure(subspaces_NKD: Tensor, chains: int, normalizer: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Measure squared_BK, overlap_N, radius_NK and offset_KD of subspaces_NKD [N, K, D], in float32 or wider.

    radius_NK is the squared distance of each projection from the origin (mean_norm) or from the first image's
    projection (rms_distance). offset_KD is the sum over images of the differences from the first image (rms_distance).
    What is not needed is empty. Gradient: to subspaces_NKD; the first image as a centre is a constant.
    """
    images, subspaces, latent = subspaces_NKD.shape
    links = images // chains - 1
    tiling = choose_tiling(chains, subspaces, latent)
    dtype = torch.promote_types(subspaces_NKD.dtype, torch.float32)
    squared = subspaces_NKD.new_empty(tiling.splits, images - chains, subspaces, dtype=dtype)
    overlap = subspaces_NKD.new_empty(tiling.splits, images, dtype=dtype)
    radius = offset = None
    if normalizer != "mean_distance":
        radius = subspaces_NKD.new_empty(tiling.splits, images, subspaces, dtype=dtype)
    if normalizer == "rms_distance":
        offset = subspaces_NKD.new_empty(tiling.groups, subspaces, latent, dtype=dtype)
    wrap_triton(_measure_kernel)[(tiling.groups, tiling.splits)](
        subspaces_NKD,
        squared,
        overlap,
        radius,
        offset,
        links,
        chains,
        subspaces,
        latent,
        *subspaces_NKD.stride(),
        tiling.tiles,
        BLOCK_C=tiling.chains,
        BLOCK_K=tiling.subspaces,
        BLOCK_D=tiling.latent,
    )
    return (
        _add_parts(squared),
        _add_parts(overlap),
        squared.new_empty(0) if radius is None else _add_parts(radius),
        squared.new_empty(0) if offset is None else _add_parts(offset),
    )


@triton_op("detaux::measure_pairs_backward", mutates_args={})
def measure_backward(
    subspaces_NKD: Tensor, squared_BK: Tensor, overlap_N: Tensor, radius_NK: Tensor, offset_KD: Tensor, chains: int
) -> Tensor:
    """Compute the gradient to subspaces_NKD, in its dtype and layout, from those of the results of `measure`."""
    images, subspaces, latent = subspaces_NKD.shape
    tiling = choose_tiling(chains, subspaces, latent)
    gradient_NKD = torch.empty_like(subspaces_NKD)
    wrap_triton(_measure_backward_kernel)[(tiling.groups, tiling.splits)](
        subspaces_NKD,
        gradient_NKD,
        squared_BK.contiguous(),
        overlap_N.contiguous(),
        radius_NK.contiguous() if radius_NK.numel() else None,
        offset_KD.contiguous() if offset_KD.numel() else None,
        images // chains - 1,
        chains,
        subspaces,
        latent,
        *subspaces_NKD.stride(),
        *gradient_NKD.stride(),
        tiling.tiles,
        BLOCK_C=tiling.chains,
        BLOCK_K=tiling.subspaces,
        BLOCK_D=tiling.latent,
    )
    return gradient_NKD


def _save_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    subspaces_NKD, ctx.chains, _ = inputs
    ctx.save_for_backward(subspaces_NKD)


def _backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
    return measure_backward(*ctx.saved_tensors, *gradients, ctx.chains), None, None


measure.register_autograd(_backward, setup_context=_save_context)


def _mean_norm(subspaces_NKD: Tensor, radius_NK: Tensor, offset_KD: Tensor) -> Tensor:
    return global_mean(safe_sqrt(radius_NK).mean(0)).clamp_min(EPSILON)


def _mean_distance(subspaces_NKD: Tensor, radius_NK: Tensor, offset_KD: Tensor) -> Tensor:
    columns_MKD = gather_rows(subspaces_NKD.detach())
    mean_K = global_mean(sum_distances(subspaces_NKD, columns_MKD).mean(0) / len(columns_MKD))
    # Over all ordered pairs a vector is as often a column as a row, with the same effect: twice the gradient of rows.
    return 2 * mean_K - mean_K.detach() + EPSILON


def _rms_distance(subspaces_NKD: Tensor, radius_NK: Tensor, offset_KD: Tensor) -> Tensor:
    away_KD = offset_KD / len(radius_NK)  # from this rank's first image: a point of the cloud avoids cancellation
    mean_KD = subspaces_NKD[0].detach() + away_KD
    within_K = radius_NK.mean(0) - away_KD.square().sum(1)
    between_K = (mean_KD - global_mean(mean_KD)).square().sum(1)
    return safe_sqrt(2 * global_mean(within_K + between_K).clamp_min(0)).clamp_min(EPSILON)


NORMALIZERS = {"mean_norm": _mean_norm, "mean_distance": _mean_distance, "rms_distance": _rms_distance}


def measure_pairs(subspaces_NKD: Tensor, chains: int, normalizer: str) -> PairMeasures:
    """Do the same as measure_pairs of the folder above, in one sweep over subspaces_NKD and one over its gradient.

    Gradient:  one kernel writes that of all terms together (README.md); two more write that of mean_distance.
    Batch statistics: the normaliser, over all ranks; rms_distance joins the ranks' variances within and between them.
    Checked:   tests/losses/kernels/test_pair_measures.py.
    """
    compute_normalizer = NORMALIZERS[normalizer]
    if len(subspaces_NKD) % chains:
        raise ValueError(f"{len(subspaces_NKD)} images are not {chains} chains of one length")
    squared_BK, overlap_N, radius_NK, offset_KD = measure(subspaces_NKD, chains, normalizer)
    values_NKD = widen(subspaces_NKD)
    return PairMeasures(
        first_BKD=values_NKD[:-chains],
        second_BKD=values_NKD[chains:],
        squared_BK=squared_BK,
        normalizer_K=compute_normalizer(subspaces_NKD, radius_NK, offset_KD),
        overlap_N=overlap_N,
    )
