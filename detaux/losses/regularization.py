"""Compute the regularization loss (paper, Eq. 10), so that the oracle uses the subspaces of a batch evenly.

B pairs, K subspaces.
"""

from typing import Literal, assert_never

from torch import Tensor

from detaux.losses.numerics import widen
from detaux.losses.oracle import DistanceForm, score_subspaces, weigh_subspaces
from detaux.runtime.collectives import global_mean

OFFICIAL_SCALE = 1e2  # factor of the official penalty


def compute_usage(
    squared_BK: Tensor,
    normalizer_K: Tensor,
    is_different_B: Tensor,
    is_known_B: Tensor | None = None,
    *,
    form: DistanceForm,
    sharpness: float,
    alpha: int = 0,
) -> Tensor:
    """Compute the soft indicators A of Eq. (10): how much each pair uses each subspace.

    Equation:  Detaux (Skenderi et al., ICIAP 2025), the text under Eq. (10): "a weighted softmax to the
               distance matrix".
    Inputs:    as in compute_oracle; sharpness multiplies the normalised distances; 0 is a hard arg max, without
               gradient.
    Output:    usage_BK  [B, K], rows sum to 1; one-hot at alpha if the labels differ.
    Gradient:  to the free subspaces of pairs with equal labels and, through the normaliser, to the free subspaces of
               every projection; to alpha only if a pair has no label; none at all with one free subspace, because its
               share is always 1.
    Batch statistics: none except the given normaliser.
    Departs:   the paper states no temperature.
    Checked:   tests/losses/test_regularization.py.
    """
    scores_BK = score_subspaces(squared_BK, normalizer_K, form)
    return weigh_subspaces(scores_BK, is_different_B, is_known_B, sharpness=sharpness, alpha=alpha)


def regularization_loss(usage_BK: Tensor, form: Literal["paper", "official"]) -> Tensor:
    """Compute the squared difference between the mean usage of each subspace and 1 / K.

    Equation:  Detaux (Skenderi et al., ICIAP 2025), Eq. (10).
    Inputs:    usage_BK  [B, K] float, rows sum to 1, any dtype, computed in float32 or wider.
    Output:    scalar: paper sums over K; official is OFFICIAL_SCALE times the mean over K.
    Gradient:  paper: to usage_BK; official: none, because the official code uses its detached oracle.
    Batch statistics: the mean usage, over the pairs of all ranks.
    Departs:   nothing; the official form trains nothing, on purpose.
    Checked:   tests/losses/test_regularization.py.
    """
    if form == "paper":
        return _compute_unevenness(usage_BK).sum()
    if form == "official":
        return OFFICIAL_SCALE * _compute_unevenness(usage_BK.detach()).mean()
    assert_never(form)


def _compute_unevenness(usage_BK: Tensor) -> Tensor:
    return (global_mean(widen(usage_BK).mean(0)) - 1 / usage_BK.shape[1]).square()
