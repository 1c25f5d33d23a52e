"""Define a weighting: a rule that makes one loss of the task losses, and may learn."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from detaux.config.schema import MultitaskConfig


class Weighting(nn.Module, ABC):
    """Make one loss of the task losses, the principal one first. `weight` is that of the auxiliary tasks.

    Its parameters, if it learns any, get `lr_factor` x `multitask.lr` and no weight decay.
    """

    lr_factor = 1.0
    writes_gradients: ClassVar[bool] = False  # True: `observe` writes its parameters' gradients; False: the loss does

    def __init__(self, config: MultitaskConfig, tasks: int, weight: float) -> None:
        super().__init__()
        self.config = config
        self.weights = [1.0, *([weight] * (tasks - 1))]

    @abstractmethod
    def forward(self, losses: list[Tensor]) -> Tensor:
        """Return the loss to minimise. `losses` has a scalar for each task."""

    def observe(self, losses: list[Tensor], list_last_shared: Callable[[], list[nn.Parameter]]) -> None:
        """Learn from the losses of a training step, before their backward pass. Most rules learn nothing.

        `list_last_shared` returns the weights of the last layer that all tasks share. Gradients that are written here
        must be equal on all ranks.
        """

    def end_step(self) -> None:
        """Do what the rule does after each step of the optimisers. Most rules do nothing."""

    def end_epoch(self) -> None:
        """Do what the rule does after each pass over the labelled images. Most rules do nothing."""

    def add_up(self, terms: Tensor) -> Tensor:
        """Sum the terms [T] of all tasks, those of the auxiliary tasks multiplied by their weight."""
        return (torch.tensor(self.weights, device=terms.device) * terms).sum()
