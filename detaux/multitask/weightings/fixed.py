"""Sum task losses with fixed weights: 1 for the principal loss, and the given weight for each auxiliary loss."""

import torch
from torch import Tensor, nn


class FixedWeights(nn.Module):
    """Compute L = L_0 + weight * (L_1 + ... + L_{T-1})."""

    def __init__(self, tasks: int, weight: float) -> None:
        super().__init__()
        self.weights = [1.0, *([weight] * (tasks - 1))]

    def forward(self, losses: list[Tensor]) -> Tensor:
        return torch.stack([weight * loss for weight, loss in zip(self.weights, losses, strict=True)]).sum()
