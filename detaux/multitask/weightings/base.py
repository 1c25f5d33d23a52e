"""Define a weighting: a rule that makes one loss of the task losses, and may learn."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from detaux.config.schema import MultitaskConfig


class Weighting(nn.Module, ABC):
    """Make one loss of the task losses, the principal one first. `weight` is that of the auxiliary tasks.

    Its parameters, if it learns any, get `lr_factor` x `multitask.lr` and no weight decay.
    """

    lr_factor = 1.0

    def __init__(self, config: MultitaskConfig, tasks: int, weight: float) -> None:
        super().__init__()
        self.config = config
        self.weights = [1.0, *([weight] * (tasks - 1))]

    @abstractmethod
    def forward(self, losses: list[Tensor]) -> Tensor:
        """Return the loss to minimise. `losses` has a scalar for each task."""
