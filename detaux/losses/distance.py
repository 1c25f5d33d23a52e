"""Compute the distance loss (paper, Eq. 7): a pair differs only in the subspace that the oracle marks.

B pairs, K subspaces.
"""

from typing import Literal, assert_never

from torch import Tensor

from detaux.losses.numerics import safe_sqrt

OFFICIAL_PUSH = 10.0  # factor of the official hinge
OFFICIAL_MARGIN = 0.05  # squared distance at which the official hinge ends


def distance_loss(
    squared_BK: Tensor,
    changed_BK: Tensor,
    *,
    form: Literal["paper", "official"],
    margin: float,
    pull_B: Tensor | None = None,
) -> Tensor:
    """Pull a pair together in every subspace except the one the oracle marks. Push it apart there, up to the margin.

    Equation:  Detaux (Skenderi et al., ICIAP 2025), Eq. (7), delta the Euclidean distance, lambda = changed.
    Inputs:    squared_BK  [B, K] float32 or wider, delta^2 of each pair in each subspace (measure_pairs).
               changed_BK  [B, K] in [0, 1], rows sum to 1 (Eq. 3), a constant.
               margin  m of Eq. (7), paper form only.
               pull_B  [B] weight of the pulling part (1 - lambda) delta^2 of each pair, a constant; None is 1.
    Output:    scalar, mean over B and K.
    Gradient:  to squared_BK, none to changed_BK and pull_B. If a pair coincides, the gradient is finite, and its
               projections get none: the pull is at its minimum, and the push of the paper form has no direction
               (README.md).
    Batch statistics: none (per pair).
    Departs:   Eq. (7) sums over the subspaces, while this averages: a factor K. pull_B is ours. The official form is
               from the official code: squared distances and OFFICIAL_PUSH * max(OFFICIAL_MARGIN - lambda delta^2, 0).
               It adds OFFICIAL_PUSH * OFFICIAL_MARGIN for each unmarked subspace, and its push vanishes at delta = 0.
    Checked:   tests/losses/test_distance.py.
    """
    changed_BK = changed_BK.detach().to(squared_BK.dtype)
    pulled_BK = (1 - changed_BK) * squared_BK
    if pull_B is not None:
        pulled_BK = pulled_BK * pull_B.detach().to(squared_BK.dtype)[:, None]
    if form == "paper":
        pushed_BK = changed_BK * (margin - safe_sqrt(squared_BK)).relu().square()
    elif form == "official":
        pushed_BK = OFFICIAL_PUSH * (OFFICIAL_MARGIN - changed_BK * squared_BK).relu()
    else:
        assert_never(form)
    return (pulled_BK + pushed_BK).mean()
