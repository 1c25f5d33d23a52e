"""Contrast on the principal subspace over the whole batch; ours, no term of the paper. N images, D latent size."""

import torch
from torch import Tensor

from detaux.losses.numerics import widen


def principal_contrast_loss(principal_ND: Tensor, labels_N: Tensor, margin: float) -> Tensor:
    """Pull images of one label together in the principal subspace, push images of two labels apart by the margin.

    Equation:  not of the paper; Eq. (7) on the principal subspace, over all pairs n < m of the batch: mean of delta^2
               over pairs of one label plus mean of max(margin - delta, 0)^2 over pairs of two labels.
    Inputs:    principal_ND  [N, D] float, any dtype, computed in float32 or wider; labels_N  [N] int64, -1
               where there is none: such an image is in no pair.
    Output:    scalar; the part of a kind of pair that the batch lacks is 0.
    Gradient:  to principal_ND; 0 between images that coincide, as in distance_loss.
    Batch statistics: both means run over all pairs of the global batch.
    Departs:   the paper has no such term; it keeps the principal subspace sharp when few drawn pairs differ in label.
    Checked:   tests/losses/test_principal_contrast.py.
    """
    values_ND = widen(principal_ND)
    is_known_NN = (labels_N[:, None] >= 0) & (labels_N >= 0)
    is_same_NN = labels_N[:, None] == labels_N
    same_NN = (is_same_NN & is_known_NN).to(values_ND.dtype).triu(1)
    different_NN = (~is_same_NN & is_known_NN).to(values_ND.dtype).triu(1)
    # As in oracle.py, the product form of cdist would cancel; its gradient at distance 0 is 0.
    distance_NN = torch.cdist(values_ND, values_ND, compute_mode="donot_use_mm_for_euclid_dist")
    pulled = (same_NN * distance_NN.square()).sum() / same_NN.sum().clamp_min(1)
    pushed = (different_NN * (margin - distance_NN).relu().square()).sum() / different_NN.sum().clamp_min(1)
    return pulled + pushed
