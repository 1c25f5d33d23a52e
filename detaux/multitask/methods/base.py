"""Define a method: a network with a loss and a step of its own. fit.py trains it and never asks which one it is.

A method with one optimiser defines `network` and `compute_loss`; everything else has a default.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from detaux.config.schema import EngineConfig, MultitaskConfig
from detaux.multitask.batches import Stream, TaskBatch, TrainingData
from detaux.multitask.weightings import FIXED
from detaux.runtime.batch_norm import share_batch_statistics
from detaux.runtime.engines import Engine, SingleEngine, build_engine

Streams = list[Iterator[TaskBatch]]


@dataclass(frozen=True)
class TaskSpec:
    """Hold what a method is built from.

    These are the settings, the side of the images in pixels, the number of classes of each task (the principal one
    first), the weight of the auxiliary losses, and the rule that makes one loss of them.
    """

    config: MultitaskConfig
    side: int
    classes: list[int]
    weight: float
    rule: str = FIXED


@dataclass(frozen=True)
class ParameterGroup:
    """Hold parameters with one learning rate and weight decay.

    The learning rate is `lr_factor` x `multitask.lr`. The weight decay is that of the config if it is None here.
    """

    parameters: list[nn.Parameter]
    lr_factor: float = 1.0
    weight_decay: float | None = None


class Player:
    """Train one module with its own optimiser. If the player has a loss, an engine keeps the module equal on all ranks.

    Without a loss, the method itself writes the module's gradients, equal on all ranks, and calls `step`. The step is
    then that of one process for any `engine.name`.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Callable[..., Tensor] | None = None,
        *,
        clip: float = 0.0,
        sees_images: bool = True,
    ) -> None:
        self.module, self.optimizer, self.loss, self.clip = module, optimizer, loss, clip
        self.sees_images = sees_images  # only such steps count as the cost of a trial
        self.steps = 0  # taken so far

    def start(
        self,
        config: EngineConfig,
        device: torch.device,
        decay: Callable[[int], float],
        *,
        differentiates_twice: bool = False,
    ) -> None:
        """Give module and optimiser to an engine. `decay` maps a number of steps to a factor of the learning rate."""
        loss = self.loss
        if loss is None:  # the method writes gradients that are already equal on all ranks
            share_batch_statistics(self.module, device, differentiates_twice=differentiates_twice)
            self.engine: Engine = SingleEngine()
        else:
            self.engine = build_engine(config, device, differentiates_twice=differentiates_twice)
        self._compute = self.engine.wrap(
            self.module,
            lambda _, *given: (loss(*given), {}),  # type: ignore[misc]
            self.optimizer,
            clip=self.clip,
            micro_batches=1,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, decay)

    def descend(self, *given: list[TaskBatch]) -> Tensor:
        """Take a gradient step on the loss of the `given` batches. Return the loss of this rank."""
        loss, _ = self._compute(*given)
        self.engine.backward(loss)
        self.step()
        return loss

    def step(self) -> None:
        """Update the module by its gradients, then update the learning rate."""
        self.engine.step()
        self.schedule.step()
        self.steps += 1


class Method(nn.Module):
    """Hold all that a trial trains.

    `network` maps images to the logits of each task, the principal one first. Only the network is evaluated and kept.
    """

    network: nn.Module
    epochs_factor: float = 1.0  # of the passes that the config asks for
    reads_labels: ClassVar[bool] = True  # False: one trial for each seed, without auxiliary labels
    reads_weight: ClassVar[bool] = True  # False: one trial of weight 1 on each kind of labels
    predicts_labels: ClassVar[bool] = True  # False: it reads the labels, but its network does not predict them
    separates_tasks: ClassVar[bool] = True  # each task has a stream of its own, as the control rotation needs
    takes_mixed_labels: ClassVar[bool] = False  # True: labels of a batch may be probabilities (multitask.mixup)
    differentiates_twice: bool = False  # True: a step takes second derivatives, also of batch normalisation
    unstable_keys: ClassVar[str] = "multitask.lr"  # what to lower if training diverges

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__()
        self.spec = spec

    def list_streams(self, data: TrainingData) -> list[Stream]:
        """Return the streams of batches that `step` draws from. By default, each task has one.

        Stream i is shuffled with the trial's seed + i.
        """
        is_everywhere = self.spec.config.auxiliary_on == "all"
        auxiliary = data.everything if is_everywhere else data.labelled
        rest = [Stream((task,), auxiliary) for task in range(1, len(data.classes))]
        return [Stream((0,), data.labelled), *rest]

    def list_groups(self) -> list[ParameterGroup]:
        """Return the parameter groups of the default player."""
        return [ParameterGroup(list(self.parameters()))]

    def list_players(self) -> list[Player]:
        """Return the players of the method, each with its own optimiser. By default, one player trains everything."""
        return [Player(self, self.build_optimizer(self.list_groups()), self.compute_loss)]

    def build_optimizer(self, groups: list[ParameterGroup]) -> torch.optim.Optimizer:
        """Build the optimiser of the default player. By default, it is AdamW."""
        return self.build_adamw(groups)

    def build_adamw(self, groups: list[ParameterGroup]) -> torch.optim.Optimizer:
        """Build AdamW with the config's learning rate and weight decay, as changed by each group."""
        config = self.spec.config
        return torch.optim.AdamW(self.describe_groups(groups), config.lr, weight_decay=config.weight_decay)

    def describe_groups(self, groups: list[ParameterGroup]) -> list[dict[str, Any]]:
        """Return groups as torch's optimisers take them: parameters, learning rate and weight decay."""
        config = self.spec.config
        return [
            {
                "params": group.parameters,
                "lr": group.lr_factor * config.lr,
                "weight_decay": config.weight_decay if group.weight_decay is None else group.weight_decay,
            }
            for group in groups
        ]

    def compute_loss(self, batches: list[TaskBatch]) -> Tensor:
        """Return the loss of one batch from each stream. Its mean over ranks must be the loss of the whole batches."""
        raise NotImplementedError(f"{type(self).__name__} has neither a compute_loss nor a list_players of its own")

    def step(self, players: list[Player], streams: Streams) -> Tensor:
        """Draw batches and take a step. Return the loss of this rank, which must be finite unless training diverged."""
        (player,) = players
        return player.descend([next(stream) for stream in streams])

    def check_steps(self, steps: int) -> None:
        """Raise UserError if so few steps of a whole trial cannot train the method. By default, any number can."""

    def train_epoch(self, players: list[Player], streams: Streams, steps: int) -> Tensor:
        """Take the steps of one pass over the labelled images. Return the last loss of this rank."""
        for _ in range(steps):
            loss = self.step(players, streams)
        return loss

    def describe_epoch(self) -> dict[str, float]:
        """Return numbers for the epoch's row of curves.jsonl, the same on all ranks. By default there are none."""
        return {}
