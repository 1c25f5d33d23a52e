"""Compute the consistency loss (paper, Eq. 9), so that swapped subspaces survive decoding and encoding again.

B pairs, R mixed codes drawn from the B K possible ones, K subspaces, D latent size.
"""

from typing import Literal, assert_never

import torch
from torch import Tensor

from detaux.losses.numerics import widen


def mix_subspaces(first_BKD: Tensor, second_BKD: Tensor, pair_R: Tensor, subspace_R: Tensor) -> tuple[Tensor, Tensor]:
    """Put subspace i of the first image into the second image's code. Return the codes and their target projections.

    Equation:  the argument of g in Eq. (9): p_i f(x1) + sum over j != i of p_j f(x2).
    Inputs:    first_BKD, second_BKD  [B, K, D] float, any dtype, computed in float32 or wider.
               pair_R, subspace_R  [R] int64: the pair and the i of each mix.
    Output:    mixed_RD  [R, D] = sum_j s_j(2) - s_i(2) + s_i(1), and targets_RKD  [R, K, D].
    Gradient:  from the drawn pairs, to subspace i of first_BKD and the others of second_BKD; none to the replaced one.
    Batch statistics: none.
    Departs:   nothing, but no copy of the batch for each subspace is built.
    Checked:   tests/losses/test_consistency.py.
    """
    first_BKD, second_BKD = widen(first_BKD), widen(second_BKD)
    rows_R = torch.arange(len(pair_R), device=pair_R.device)
    swapped_RD = first_BKD[pair_R, subspace_R]
    mixed_RD = second_BKD.sum(1)[pair_R] - second_BKD[pair_R, subspace_R] + swapped_RD
    targets_RKD = second_BKD[pair_R].index_put((rows_R, subspace_R), swapped_RD)
    return mixed_RD, targets_RKD


def consistency_loss(
    reencoded_RKD: Tensor, targets_RKD: Tensor, subspace_R: Tensor, form: Literal["paper", "official"], mixes: float
) -> Tensor:
    """Compute the squared difference between the projections of a decoded mix and its target projections.

    Equation:  Detaux (Skenderi et al., ICIAP 2025), Eq. (9).
    Inputs:    reencoded_RKD  [R, K, D] projections of f(g(mixed)), targets_RKD  [R, K, D], float, any dtype, computed
               in float32 or wider.  subspace_R  [R] int64, the i of each mix.
               mixes  divisor of the sum over mixes: R, or on N ranks the sum of their R over N.
    Output:    scalar: paper = K times the mean over R of the squared norm on projector i; official = mean squared
               error over R, all K projectors and D.
    Gradient:  to both, not detached, as in the official code; paper: on projector i only.
    Batch statistics: none (per mix).
    Departs:   Eq. (9) takes every i. Over uniformly drawn (pair, i) the paper form's expectation is Eq. (9), averaged
               over pairs; with all B K mixes both are equal (README.md).
    Checked:   tests/losses/test_consistency.py.
    """
    squared_RKD = (widen(reencoded_RKD) - widen(targets_RKD)).square()
    if form == "paper":
        rows_R = torch.arange(len(subspace_R), device=subspace_R.device)
        return squared_RKD.shape[1] * squared_RKD[rows_R, subspace_R].sum() / mixes
    if form == "official":
        return squared_RKD.sum() / (mixes * squared_RKD.shape[1:].numel())
    assert_never(form)
