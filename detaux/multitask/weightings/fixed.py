"""Sum task losses with fixed weights: 1 for the principal loss, and the given weight for each auxiliary loss."""

import torch
from torch import Tensor

from detaux.multitask.weightings.base import Weighting


class FixedWeights(Weighting):
    """Compute L = L_0 + weight * (L_1 + ... + L_{T-1})."""

    def forward(self, losses: list[Tensor]) -> Tensor:
        return torch.stack([weight * loss for weight, loss in zip(self.weights, losses, strict=True)]).sum()
