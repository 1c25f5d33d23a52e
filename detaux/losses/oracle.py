"""Compute the principal-task oracle (paper, Eq. 3): the subspace that must carry the difference of a pair.

B pairs, N images of a rank, M images of all ranks, K subspaces, D latent size.
"""

from typing import Literal, assert_never

import torch
from torch import Tensor

from detaux.losses.numerics import safe_sqrt, widen
from detaux.losses.tiles import tile_rows
from detaux.runtime.collectives import gather_rows, global_mean

DistanceForm = Literal["distance", "squared"]

EPSILON = 1e-8  # from the official code: prevents division by 0 if nothing varies in a subspace


def compute_normalizer(subspaces_NKD: Tensor, name: str) -> Tensor:
    """Compute the divisor of the distances in each subspace.

    Equation:  section 4.1 of the paper: "normalized by the average length of the vector representation".
    Inputs:    subspaces_NKD  [N, K, D] float, any dtype, computed in float32 or wider.
               name  mean_norm: mean vector length (paper); mean_distance: mean Euclidean distance over all ordered
               pairs, the zero diagonal included, plus EPSILON (official code); rms_distance: root of the mean squared
               distance over the same pairs, computed from two moments.
    Output:    [K], at least EPSILON.
    Gradient:  to subspaces_NKD; 0 at a zero vector (mean_norm) or for vectors that coincide (the other two).
    Batch statistics: the mean itself, over the vectors of all ranks.
    Departs:   rms_distance is ours: linear in N, while mean_distance is quadratic.
    Checked:   tests/losses/test_oracle.py.
    """
    return NORMALIZERS[name](widen(subspaces_NKD))


def _mean_norm(subspaces_NKD: Tensor) -> Tensor:
    return global_mean(safe_sqrt(subspaces_NKD.square().sum(2)).mean(0)).clamp_min(EPSILON)


def _mean_distance(subspaces_NKD: Tensor) -> Tensor:
    all_MKD = gather_rows(subspaces_NKD)

    def add_distances(rows_NKD: Tensor) -> Tensor:
        # |a|^2 + |b|^2 - 2 ab, which cdist prefers, cancels if a subspace varies little around a point far from 0.
        vectors_KND, all_KMD = rows_NKD.transpose(0, 1), all_MKD.transpose(0, 1)
        return torch.cdist(vectors_KND, all_KMD, compute_mode="donot_use_mm_for_euclid_dist").sum((1, 2))

    total_K = torch.stack(tile_rows(add_distances, subspaces_NKD, row_values=all_MKD.numel())).sum(0)
    return global_mean(total_K / (len(subspaces_NKD) * len(all_MKD))) + EPSILON


def _rms_distance(subspaces_NKD: Tensor) -> Tensor:
    centred_NKD = subspaces_NKD - global_mean(subspaces_NKD.mean(0))
    variance_K = global_mean(centred_NKD.square().mean(0)).sum(1)
    return safe_sqrt(2 * variance_K).clamp_min(EPSILON)


NORMALIZERS = {"mean_norm": _mean_norm, "mean_distance": _mean_distance, "rms_distance": _rms_distance}


def score_subspaces(squared_BK: Tensor, normalizer_K: Tensor, form: DistanceForm) -> Tensor:
    """Compute the distance of each pair in each subspace over the subspace's normaliser, [B, K], with its gradient.

    form distance is Euclidean (paper); squared is its square (official code, which still divides by a plain distance).
    """
    if form == "distance":
        return safe_sqrt(squared_BK) / normalizer_K
    if form == "squared":
        return squared_BK / normalizer_K
    assert_never(form)


def weigh_subspaces(
    scores_BK: Tensor, is_different_B: Tensor, is_known_B: Tensor | None, *, sharpness: float, alpha: int
) -> Tensor:
    """Compute the rows of Eq. (3) as weights [B, K] that sum to 1.

    If the labels differ, a row is one-hot at alpha. Otherwise it is softmax(sharpness * scores) over the free
    subspaces, or over all subspaces if it is not known whether the labels differ (`is_known_B` False; None: all are
    known). sharpness 0 is a hard arg max, without gradient; ties go to the lowest index.
    """
    is_alpha_K = torch.arange(scores_BK.shape[1], device=scores_BK.device) == alpha
    is_barred_BK = is_alpha_K if is_known_B is None else is_alpha_K & is_known_B[:, None]
    free_BK = scores_BK.masked_fill(is_barred_BK, -torch.inf)
    if sharpness == 0:
        weights_BK = torch.nn.functional.one_hot(free_BK.argmax(1), free_BK.shape[1]).to(free_BK.dtype)
    else:
        weights_BK = torch.softmax(sharpness * free_BK, 1)
    return torch.where(is_different_B[:, None], is_alpha_K.to(scores_BK.dtype), weights_BK)


@torch.no_grad()
def compute_oracle(
    squared_BK: Tensor,
    normalizer_K: Tensor,
    is_different_B: Tensor,
    is_known_B: Tensor | None = None,
    *,
    form: DistanceForm,
    sharpness: float,
    alpha: int = 0,
) -> Tensor:
    """Mark the subspace that must carry a pair's difference: the principal one if labels differ, else the most changed.

    Equation:  Detaux (Skenderi et al., ICIAP 2025), Eq. (3), relaxed to a softmax as section 4.1 says.
    Inputs:    squared_BK  [B, K] float32 or wider, squared distance of each pair in each subspace; K at least 2.
               normalizer_K  [K], compute_normalizer of the batch.
               is_different_B  [B] bool, whether the principal labels of a pair differ.
               is_known_B  [B] bool, whether both images have a principal label; None if all have.
               form  as in score_subspaces.
               sharpness  1 / temperature of the softmax; 0 is a hard arg max.  alpha  index of the principal subspace.
    Output:    changed_BK  [B, K], rows sum to 1.
    Gradient:  none (detached, as in the official code).
    Batch statistics: none except the given normaliser.
    Departs:   the paper wants the softmax to carry a gradient and states no temperature. compute_usage, in
               regularization.py, gives its soft indicators with their gradient. Pairs without a label are ours: they
               take the most changed of all subspaces, which may be the principal one.
    Checked:   tests/losses/test_oracle.py.
    """
    scores_BK = score_subspaces(squared_BK, normalizer_K, form)
    return weigh_subspaces(scores_BK, is_different_B, is_known_B, sharpness=sharpness, alpha=alpha)
