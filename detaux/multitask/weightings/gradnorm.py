"""Weight task losses so that all tasks train at similar rates (GradNorm; Chen et al., ICML 2018)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from detaux.config.schema import MultitaskConfig
from detaux.multitask.weightings.base import Weighting
from detaux.runtime.collectives import global_mean

LEAST_LOSS = 1e-8  # a task with one class has loss 0, and its rate is then that of a loss that does not fall
LEAST_WEIGHT = 1e-3  # the norm of a gradient does not see the sign of its weight


class GradNormWeights(Weighting):
    """Compute L = sum_t weight_t w_t L_t with learned w_t. Their sum is the number of tasks T (algorithm 1).

    The w_t minimise sum_t |G_t - mean(G) r_t^alpha|. G_t = w_t ||dL_t / dW||, and W is the last layer that all tasks
    share. r_t is L_t / L_t(0), divided by its mean over tasks; L_t(0) is the loss of the first step. Targets
    mean(G) r_t^alpha are constants, and G_t is linear in w_t, so no second derivative is needed. `weight` multiplies
    the auxiliary terms afterwards, because w_t would undo a weight inside of G_t.
    """

    writes_gradients = True

    def __init__(self, config: MultitaskConfig, tasks: int, weight: float) -> None:
        super().__init__(config, tasks, weight)
        self.lr_factor = config.gradnorm.lr_factor
        self.task_weights = nn.Parameter(torch.ones(tasks))
        self._first: Tensor | None = None

    def forward(self, losses: list[Tensor]) -> Tensor:
        return self.add_up(self.task_weights.detach() * torch.stack(losses))

    def observe(self, losses: list[Tensor], list_last_shared: Callable[[], list[nn.Parameter]]) -> None:
        """Write the gradient of the w_t. Gradients and losses are means over all ranks before norms are taken."""
        layer = list_last_shared()
        found = [torch.autograd.grad(loss, layer, retain_graph=True) for loss in losses]
        rows = torch.stack([torch.cat([part.flatten() for part in parts]) for parts in found])
        means = global_mean(torch.stack(losses).detach()).clamp_min(LEAST_LOSS)
        self._first = means if self._first is None else self._first
        self.task_weights.grad = compute_gradient(
            self.task_weights.detach(), global_mean(rows).norm(dim=1), means / self._first, self.config.gradnorm.alpha
        )

    @torch.no_grad()
    def end_step(self) -> None:
        """Scale the w_t to the sum T, so that the learning rate of the network stays the same."""
        self.task_weights.clamp_(min=LEAST_WEIGHT)
        self.task_weights.mul_(len(self.task_weights) / self.task_weights.sum())


def compute_gradient(weights: Tensor, norms: Tensor, remaining: Tensor, alpha: float) -> Tensor:
    """Return the gradient [T] of sum_t |w_t n_t - target_t| with respect to the weights w [T].

    `norms` n [T] are those of the unweighted gradients. `remaining` [T] is each loss as a fraction of its first value.
    """
    scaled = weights * norms
    target = scaled.mean() * (remaining / remaining.mean()) ** alpha
    return torch.sign(scaled - target) * norms
