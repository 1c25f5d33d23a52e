"""Compute the focal loss (Lin et al., ICCV 2017) of logits against soft or hard labels."""

import torch
from torch import Tensor
from torch.nn import functional


def focal_loss(logits: Tensor, targets: Tensor, gamma: int) -> Tensor:
    """Return -sum_k q_k (1 - p_k)^gamma log p_k of each image [B], with p = softmax(logits).

    `targets` are probabilities q [B, K] or classes [B]. With gamma = 0 this is the cross-entropy. A whole gamma keeps
    second derivatives finite at p = 1.
    """
    log_p = functional.log_softmax(logits, 1)
    terms = -(torch.expm1(log_p).neg() ** gamma) * log_p
    if targets.dim() == 1:
        return terms.gather(1, targets[:, None]).squeeze(1)
    return (targets * terms).sum(1)
