"""Compute a contrast on the principal subspace over the whole batch, which is ours and not in the paper.

N images of a rank, M images of all ranks, D latent size.
"""

import torch
from torch import Tensor

from detaux.losses.numerics import widen
from detaux.losses.tiles import tile_rows
from detaux.runtime.collectives import gather_rows
from detaux.runtime.ranks import rank, world_size


def principal_contrast_loss(principal_ND: Tensor, labels_N: Tensor, margin: float) -> Tensor:
    """Pull images of one label together in the principal subspace, push images of two labels apart by the margin.

    Equation:  not in the paper; Eq. (7) on the principal subspace, over all pairs n < m of the batch: mean of delta^2
               over pairs of one label plus mean of max(margin - delta, 0)^2 over pairs of two labels.
    Inputs:    principal_ND  [N, D] float, any dtype, computed in float32 or wider; labels_N  [N] int64
               below 2^24, which float32 holds exactly, -1 if there is none: such an image is in no pair.
    Output:    scalar; if the batch lacks one kind of pair, its part is 0.
    Gradient:  to principal_ND; 0 between images that coincide, as in distance_loss.
    Batch statistics: both means run over all pairs of images of all ranks. The loss of a rank is its part of them, and
               the mean of the ranks' losses is the value.
    Departs:   the paper has no such term. It keeps the principal subspace sharp when few drawn pairs differ in label.
    Checked:   tests/losses/test_principal_contrast.py.
    """
    values_ND = widen(principal_ND)
    # one exchange for both
    all_MD, all_labels_M = gather_rows(torch.cat([values_ND, labels_N[:, None].to(values_ND)], 1)).split(
        [values_ND.shape[1], 1], 1
    )
    all_labels_M = all_labels_M.squeeze(1).to(labels_N)
    place_M = torch.arange(len(all_MD), device=values_ND.device)
    place_N = place_M[rank() * len(values_ND) :][: len(values_ND)]

    def add_pairs(rows_ND: Tensor, labels_N: Tensor, place_N: Tensor) -> Tensor:
        """Sum over the pairs of one label, and of two, if their first image is one of the rows: [2]."""
        is_pair_NM = (labels_N[:, None] >= 0) & (all_labels_M >= 0) & (place_N[:, None] < place_M)
        is_same_NM = labels_N[:, None] == all_labels_M
        same_NM, different_NM = ((is_pair_NM & one).to(rows_ND.dtype) for one in (is_same_NM, ~is_same_NM))
        # As in oracle.py, the product form of cdist would cancel; its gradient at distance 0 is 0.
        distance_NM = torch.cdist(rows_ND, all_MD, compute_mode="donot_use_mm_for_euclid_dist")
        pulled = (same_NM * distance_NM.square()).sum()
        pushed = (different_NM * (margin - distance_NM).relu().square()).sum()
        return torch.stack([pulled, pushed])

    tiles = tile_rows(add_pairs, values_ND, labels_N, place_N, row_values=all_MD.numel())
    pulled, pushed = torch.stack(tiles).sum(0)
    same, different = count_pairs(all_labels_M)
    # each rank has a part of the sum, and the losses of the ranks are averaged
    return world_size() * (pulled / same.clamp_min(1) + pushed / different.clamp_min(1))


def count_pairs(labels_M: Tensor) -> tuple[Tensor, Tensor]:
    """Count the pairs n < m of labels [M] with one label, and those with two. Label -1 is in no pair."""
    ordered_M = labels_M.sort().values
    alike_M = torch.searchsorted(ordered_M, ordered_M, right=True) - torch.searchsorted(ordered_M, ordered_M)
    is_known_M = ordered_M >= 0
    same, known = torch.where(is_known_M, alike_M - 1, 0).sum() // 2, is_known_M.sum()
    return same, known * (known - 1) // 2 - same
