"""Combine the task losses of each image into one by a learned function g (Navon et al., ICLR 2021, section 4)."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Combination(nn.Module, ABC):
    """Map the losses [B, T] of images, the principal one first, to one loss [B]. It never falls if a loss rises.

    The principal loss is always added, so that no combination can leave the principal task out. `clamp` must follow
    each step of the optimiser, which may make weights negative.
    """

    @abstractmethod
    def forward(self, losses: Tensor) -> Tensor:
        """Return the loss [B] to minimise."""

    @abstractmethod
    def clamp(self) -> None:
        """Set negative weights to 0, which keeps the function monotone."""


class LinearCombination(Combination):
    """Compute g = l_0 + sum_j a_j l_j with a >= 0, which starts at 1."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.ones(tasks))

    def forward(self, losses: Tensor) -> Tensor:
        return losses[:, 0] + losses @ self.factors

    @torch.no_grad()
    def clamp(self) -> None:
        self.factors.clamp_(min=0)


class NonlinearCombination(Combination):
    """Compute g = l_0 + MLP(l): layers of the widths `hidden` with softplus, and a linear layer without bias.

    All weights are >= 0. They start between 0 and `widest_start`, and biases at 0.
    """

    def __init__(self, tasks: int, hidden: list[int], widest_start: float) -> None:
        super().__init__()
        widths = [tasks, *hidden]
        layers: list[nn.Module] = []
        for before, after in zip(widths, hidden, strict=False):
            layers += [nn.Linear(before, after), nn.Softplus()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1, bias=False))
        for layer in self._linears:
            nn.init.uniform_(layer.weight, 0, widest_start)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    @property
    def _linears(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, losses: Tensor) -> Tensor:
        return losses[:, 0] + self.layers(losses).squeeze(1)

    @torch.no_grad()
    def clamp(self) -> None:
        for layer in self._linears:
            layer.weight.clamp_(min=0)
