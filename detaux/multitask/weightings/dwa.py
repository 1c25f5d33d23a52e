"""Weight task losses by how slowly they fall (dynamic weight averaging; Liu, Johns and Davison, CVPR 2019)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from detaux.config.schema import MultitaskConfig
from detaux.multitask.weightings.base import Weighting
from detaux.runtime.collectives import global_mean

LEAST_LOSS = 1e-8  # a task with one class has loss 0, and its ratio is then 1


class DynamicWeights(Weighting):
    """Compute L = sum_t weight_t lambda_t L_t; sum_t lambda_t is the number of tasks T.

    In epoch e, lambda_t = T exp(r_t / temperature) / sum_u exp(r_u / temperature) with
    r_t = Lbar_t(e - 1) / Lbar_t(e - 2); Lbar_t(e) is the mean loss of the steps of epoch e. In the first two epochs
    lambda_t is 1 (equation 7 of the paper). An epoch is a pass over the labelled images.
    """

    def __init__(self, config: MultitaskConfig, tasks: int, weight: float) -> None:
        super().__init__(config, tasks, weight)
        self.register_buffer("task_weights", torch.ones(tasks))
        self.task_weights: Tensor
        # an engine copies the buffers of the first rank to the others, and each rank has its own sum
        self._sum: Tensor | None = None
        self._steps = 0
        self._previous: Tensor | None = None

    def forward(self, losses: list[Tensor]) -> Tensor:
        return self.add_up(self.task_weights * torch.stack(losses))

    def observe(self, losses: list[Tensor], list_last_shared: Callable[[], list[nn.Parameter]]) -> None:
        found = torch.stack(losses).detach()
        self._sum = found if self._sum is None else self._sum + found
        self._steps += 1

    def end_epoch(self) -> None:
        """Weight the tasks of the next epoch by the mean losses of the last two, which are means over all ranks."""
        if self._sum is None:
            return
        mean = global_mean(self._sum / self._steps).clamp_min(LEAST_LOSS)
        if self._previous is not None:
            ratios = mean / self._previous
            self.task_weights.copy_(len(ratios) * torch.softmax(ratios / self.config.dwa.temperature, 0))
        self._sum, self._steps, self._previous = None, 0, mean
