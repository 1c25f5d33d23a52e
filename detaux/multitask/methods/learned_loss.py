"""Train a network by a loss that is learned with it, by implicit differentiation (AuxiLearn).

Source: Navon et al., Auxiliary Learning by Implicit Differentiation, ICLR 2021.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from detaux.errors import UserError
from detaux.multitask.batches import Stream, TaskBatch, TrainingData
from detaux.multitask.bilevel.combination import Combination, LinearCombination, NonlinearCombination
from detaux.multitask.bilevel.focal import focal_loss
from detaux.multitask.bilevel.held_out import draw_held_out
from detaux.multitask.bilevel.hypergradient import build_implicit_objective, write_gradients
from detaux.multitask.bilevel.snapshot import Snapshot
from detaux.multitask.methods.base import Method, ParameterGroup, Player, Streams, TaskSpec

MOMENTUM = 0.9  # of the loss's parameters, if SGD trains them


class LearnedLoss(Method):
    """Train a network on a learned combination of the task losses of each image.

    Every few steps of the network, the parameters of the loss take one towards a lower principal loss on held-out
    images: labelled training images that never train the network. The gradient goes through the minimum of the learned
    loss; the Hessian there ignores weight decay. The learning rate of these parameters hardly decays, because they take
    only a fraction of the steps.

    A subclass gives the network, the exponent of the focal loss, the factor of the auxiliary losses, and the streams.
    """

    differentiates_twice = True
    unstable_keys = "multitask.lr or multitask.auxilearn.neumann_lr"

    widest_start = 0.2  # of the weights of the nonlinear combination

    def __init__(self, spec: TaskSpec, network: nn.Module, tasks: int, weight: float, focal_gamma: int) -> None:
        super().__init__(spec)
        self.settings, self.network, self.focal_gamma = spec.config.auxilearn, network, focal_gamma
        self.weights = [1.0, *([weight] * (tasks - 1))]
        self.combination: Combination = LinearCombination(tasks)
        if self.settings.combination == "nonlinear":
            self.combination = NonlinearCombination(tasks, self.list_hidden(), self.widest_start)
        self.loss_parts = nn.ModuleList([self.combination])
        self.seed = int(torch.randint(2**31, ()))  # of the held-out images; the same on all ranks

    @abstractmethod
    def list_training_streams(self, data: TrainingData, is_training: Tensor) -> list[Stream]:
        """Return the streams that train the network, from images with a true `is_training` [N]."""

    def list_hidden(self) -> list[int]:
        """Return the widths of the hidden layers of the nonlinear combination."""
        return self.settings.hidden

    def complete_labels(self, batch: TaskBatch) -> TaskBatch:
        """Return the batch with the labels that the loss makes itself. By default there are none."""
        return batch

    def check_steps(self, steps: int) -> None:
        """Raise UserError if the loss would never be trained."""
        if steps < self.settings.every:
            raise UserError(
                f"multitask.auxilearn.every={self.settings.every} is more than the {steps} steps of a trial, so the loss would "
                "never be trained; set it to a smaller number, or raise multitask.epochs or multitask.least_steps."
            )

    def list_streams(self, data: TrainingData) -> list[Stream]:
        held_out = draw_held_out(data.principal.cpu(), self.settings.held_out, self.seed)
        is_training = torch.ones(len(data.images), dtype=torch.bool)
        is_training[held_out] = False
        training = self.list_training_streams(data, is_training)
        return [*(replace(one, held_out=held_out) for one in training), Stream((0,), held_out, is_recombined=False)]

    def list_players(self) -> list[Player]:
        settings, learned = self.settings, list(self.loss_parts.parameters())
        teacher: torch.optim.Optimizer
        if settings.optimizer == "sgd":
            lr = settings.lr_factor * self.spec.config.lr
            teacher = torch.optim.SGD(learned, lr, MOMENTUM, weight_decay=settings.weight_decay)
        else:
            teacher = self.build_adamw([ParameterGroup(learned, settings.lr_factor, settings.weight_decay)])
        learner = self.build_adamw([ParameterGroup(list(self.network.parameters()))])
        return [
            Player(self.network, learner, self.compute_loss),
            Player(self.loss_parts, teacher, clip=settings.clip),
        ]

    def compute_loss(self, batches: list[TaskBatch]) -> Tensor:
        fixed = {name: value.detach() for name, value in self.combination.named_parameters()}
        with torch.no_grad():
            completed = [self.complete_labels(batch) for batch in batches]
        return self._measure(
            self.network, lambda losses: functional_call(self.combination, fixed, (losses,)), completed
        )

    def step(self, players: list[Player], streams: Streams) -> Tensor:
        learner, _ = players
        *training, held_out = streams
        loss = learner.descend([next(stream) for stream in training])
        if learner.steps % self.settings.every == 0:
            self.teach(players, [next(stream) for stream in training], next(held_out))
        return loss

    def teach(self, players: list[Player], batches: list[TaskBatch], held_out: TaskBatch) -> None:
        """Take a step of the loss's parameters."""
        _, teacher = players
        completed = [self.complete_labels(batch) for batch in batches]
        snapshot, settings = Snapshot(self.network), self.settings

        def train_loss(weights: list[Tensor]) -> Tensor:
            return self._measure(lambda images: snapshot.call(weights, images), self.combination, completed)

        def goal_loss(weights: list[Tensor]) -> Tensor:
            logits = snapshot.call(weights, held_out.images)[0]
            return focal_loss(logits, held_out.labels[0], self.focal_gamma).sum() / held_out.mean_size

        objective = build_implicit_objective(
            train_loss,
            goal_loss,
            snapshot.weights,
            settings.neumann_lr,
            settings.neumann_terms,
            scaled=settings.neumann_scale == "exact",
        )
        write_gradients(objective, list(self.loss_parts.parameters()))
        teacher.step()
        self.combination.clamp()

    def describe_epoch(self) -> dict[str, float]:
        """Return the derivative of the learned loss by each task loss, at losses of 1."""
        losses = next(self.combination.parameters()).new_ones(1, len(self.weights)).requires_grad_()
        (slopes,) = torch.autograd.grad(self.combination(losses).sum(), losses)
        return {f"slope_{task}": slope for task, slope in enumerate(slopes[0].tolist())}

    def _measure(
        self,
        network: Callable[[Tensor], list[Tensor]],
        combine: Callable[[Tensor], Tensor],
        batches: list[TaskBatch],
    ) -> Tensor:
        """Return the mean combined loss of each batch, summed. All images pass the network together."""
        logits = network(torch.cat([batch.images for batch in batches]))
        parts = zip(*(one.split([len(batch.images) for batch in batches]) for one in logits), strict=True)
        terms = [
            combine(self._measure_tasks(part, batch)).sum() / batch.mean_size
            for part, batch in zip(parts, batches, strict=True)
        ]
        return torch.stack(terms).sum()

    def _measure_tasks(self, logits: tuple[Tensor, ...], batch: TaskBatch) -> Tensor:
        """Return the task losses [b, T] of a batch; 0 if its images lack the labels of a task."""
        columns = [
            weight * focal_loss(logits[task], batch.labels[task], self.focal_gamma)
            if task in batch.labels
            else logits[task].new_zeros(len(batch.images))
            for task, weight in enumerate(self.weights)
        ]
        return torch.stack(columns, 1)
