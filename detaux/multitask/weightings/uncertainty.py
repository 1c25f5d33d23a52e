"""Weight task losses by learned uncertainties (Cipolla et al., CVPR 2018), in the approximation for classification."""

import torch
from torch import Tensor, nn

from detaux.config.schema import MultitaskConfig
from detaux.multitask.weightings.base import Weighting

LIMIT = 6.0  # bound of |s|: a loss near 0 must not get an unbounded weight


class UncertaintyWeights(Weighting):
    """Compute L = sum_t weight_t (e^{-s_t} L_t + s_t / 2) with learned s_t = log sigma_t^2.

    L is minimal at s_t = log(2 L_t). `weight` multiplies the terms of the auxiliary tasks. Weight decay would pull a
    weight towards 1; at the network's learning rate it would hardly change.
    """

    def __init__(self, config: MultitaskConfig, tasks: int, weight: float) -> None:
        super().__init__(config, tasks, weight)
        self.lr_factor = config.uncertainty.lr_factor
        self.log_variance = nn.Parameter(torch.full((tasks,), config.uncertainty.init))

    def forward(self, losses: list[Tensor]) -> Tensor:
        return self.add_up(torch.exp(-self.log_variance) * torch.stack(losses) + self.log_variance / 2)

    def end_step(self) -> None:
        """Bound s itself: beyond a bound in the loss, s would have no gradient that brings it back."""
        with torch.no_grad():
            self.log_variance.clamp_(-LIMIT, LIMIT)
