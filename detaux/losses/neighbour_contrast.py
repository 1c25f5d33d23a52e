"""Compute the neighbour-embedding contrast on the neighbourhood subspace, which is ours and not in the paper.

N images of a rank, M images of all ranks, B pairs of a rank, D latent size.
"""

import torch
from torch import Tensor

from detaux.losses.numerics import widen
from detaux.losses.tiles import tile_rows
from detaux.runtime.collectives import gather_rows, global_mean
from detaux.runtime.ranks import rank


def neighbour_contrast_loss(space_ND: Tensor, chains: int, is_near_B: Tensor) -> Tensor:
    """Draw near images together and push all other images of the batch away from them.

    Equation:  not in the paper; InfoNC-t-SNE (Damrich et al., "From t-SNE to UMAP with contrastive learning",
               ICLR 2023) with the batch as its noise sample: mean over near pairs (n, m) and both directions of
               -log(q_nm / sum over l != n of q_nl), q_nm = 1 / (1 + delta_nm^2), the kernel of t-SNE.
    Inputs:    space_ND  [N, D] float, any dtype, computed in float32 or wider; pair b is the images b and b + chains.
               is_near_B  [B] bool, B = N - chains: the pairs that attract; images of the other pairs only repel.
    Output:    scalar; 0 if no pair attracts.
    Gradient:  to space_ND.
    Batch statistics: the sum runs over the images of all ranks, and the mean over their pairs; the mean of the ranks'
               losses is the value.
    Departs:   the paper has no such term. It keeps what neighbours share, which no pair of real pictures shows.
    Checked:   tests/losses/test_neighbour_contrast.py.
    """
    values_ND = widen(space_ND)
    count = len(values_ND)
    all_MD = gather_rows(values_ND)
    own_N = rank() * count + torch.arange(count, device=values_ND.device)

    def add_others(rows_ND: Tensor, own_N: Tensor) -> Tensor:
        """Compute the log of the sum of q over all images except the row's own, [N]."""
        # As in oracle.py, the product form of cdist would cancel; its gradient at distance 0 is 0.
        distance_NM = torch.cdist(rows_ND, all_MD, compute_mode="donot_use_mm_for_euclid_dist")
        score_NM = -torch.log1p(distance_NM.square())
        return score_NM.scatter(1, own_N[:, None], -torch.inf).logsumexp(1)

    total_N = torch.cat(tile_rows(add_others, values_ND, own_N, row_values=all_MD.numel()))
    score_B = -torch.log1p((values_ND[:-chains] - values_ND[chains:]).square().sum(1))
    loss_B = (total_N[:-chains] + total_N[chains:]) / 2 - score_B
    near_B = is_near_B.to(loss_B)
    share = global_mean(near_B.mean())  # at least that of one pair if any is near
    return (near_B * loss_B).mean() / torch.where(share > 0, share, 1)
