"""Weight task losses by learned uncertainties (Cipolla et al., CVPR 2018), in the approximation for classification."""

import torch
from torch import Tensor, nn

LIMIT = 6.0  # bound of |s|: a loss near 0 must not get an unbounded weight


class UncertaintyWeights(nn.Module):
    """Compute L = sum_t weight_t (e^{-s_t} L_t + s_t / 2) with learned s_t = log sigma_t^2, which start at `init`.

    L is minimal at s_t = log(2 L_t). `weight` multiplies the terms of the auxiliary tasks.
    """

    def __init__(self, tasks: int, weight: float, init: float) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.full((tasks,), init))
        self.weights = [1.0, *([weight] * (tasks - 1))]

    def forward(self, losses: list[Tensor]) -> Tensor:
        log_variance = self.log_variance.clamp(-LIMIT, LIMIT)
        terms = torch.exp(-log_variance) * torch.stack(losses) + log_variance / 2
        return (torch.tensor(self.weights, device=terms.device) * terms).sum()
