"""Compute the sparsity loss (paper, Eq. 8), so that a feature is active in one subspace, not in several.

N images, K subspaces, D latent size.
"""

from typing import Literal, assert_never

from torch import Tensor

from detaux.losses.numerics import widen


def compute_overlap(subspaces_NKD: Tensor) -> Tensor:
    """Compute how much the subspaces of each image share their features, [N]: the sum over K and D in Eq. (8).

    subspaces_NKD [N, K, D] float, any dtype, computed in float32 or wider.
    """
    values_NKD = widen(subspaces_NKD)
    others_NKD = values_NKD.sum(1, keepdim=True) - values_NKD
    return (values_NKD * others_NKD).abs().sum(1).sum(1)


def sparsity_loss(overlap_N: Tensor, latent: int, form: Literal["paper", "official"]) -> Tensor:
    """Compute the L1 norm of each subspace times the sum of the others.

    Equation:  Detaux (Skenderi et al., ICIAP 2025), Eq. (8).
    Inputs:    overlap_N  [N] float32 or wider, compute_overlap of each image (measure_pairs).  latent  D.
    Output:    scalar: paper sums over K and D and averages over N (Eq. 8 literally); official sums over K and averages
               over N and D, so it is D times smaller.
    Gradient:  to overlap_N, and through it to features in two or more subspaces; 0 elsewhere (README.md).
    Batch statistics: none (per image).
    Departs:   nothing, but it is computed as s (total - s), without the official K x K product.
    Checked:   tests/losses/test_sparsity.py.
    """
    if form == "paper":
        return overlap_N.mean()
    if form == "official":
        return overlap_N.mean() / latent
    assert_never(form)
