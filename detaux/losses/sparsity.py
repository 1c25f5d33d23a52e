"""Sparsity loss (paper, Eq. 8): a feature is active in one subspace, not in several. N images, K subspaces, D size."""

from typing import Literal, assert_never

from torch import Tensor

from detaux.losses.numerics import widen


def sparsity_loss(subspaces_NKD: Tensor, form: Literal["paper", "official"]) -> Tensor:
    """L1 norm of each subspace times the sum of the others.

    Equation:  Detaux (Skenderi et al., ICIAP 2025), Eq. (8).
    Inputs:    subspaces_NKD  [N, K, D] float, any dtype, computed in float32 or wider.
    Output:    scalar: paper sums over K and D and averages over N (Eq. 8 to the letter); official sums over K and
               averages over N and D, D times smaller.
    Gradient:  to subspaces_NKD, in the features that two subspaces or more hold; 0 elsewhere (README.md).
    Batch statistics: none (per image).
    Departs:   nothing; computed as s (total - s), without the released K x K product.
    Checked:   tests/losses/test_sparsity.py.
    """
    values_NKD = widen(subspaces_NKD)
    others_NKD = values_NKD.sum(1, keepdim=True) - values_NKD
    overlap_ND = (values_NKD * others_NKD).abs().sum(1)
    if form == "paper":
        return overlap_ND.sum(1).mean()
    if form == "official":
        return overlap_ND.mean()
    assert_never(form)
