"""Train all tasks together: one network, a loss for each task, and a rule for the losses.

Hard sharing and its relatives differ only in their network. `multitask.methods` names such a method by itself, with
fixed weights, or with a rule: hard_sharing+uncertainty. A rule is a weighting, which makes one loss of the task losses,
or an aggregator, which makes one gradient of the tasks' gradients.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from detaux.backbones.backbone import Backbone
from detaux.multitask.aggregators import AGGREGATORS, Aggregator, build_aggregator
from detaux.multitask.batches import TaskBatch
from detaux.multitask.gradients import write_gradients
from detaux.multitask.methods.base import Method, ParameterGroup, Player, Streams, TaskSpec
from detaux.multitask.weightings import FIXED, WEIGHTINGS


class JointTraining(Method):
    """Train one network for all tasks. A subclass builds the network, which has a head for each task, its `heads`.

    Only the loss of its task may reach a head.
    """

    takes_mixed_labels = True

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        self.network = self.build_network()
        config, tasks, is_aggregated = spec.config, len(spec.classes), spec.rule in AGGREGATORS
        self.aggregator: Aggregator | None = None
        if is_aggregated:
            self.aggregator = build_aggregator(spec.rule, config, tasks, spec.weight)
        self.weighting = WEIGHTINGS[FIXED if is_aggregated else spec.rule](config, tasks, spec.weight)

    @abstractmethod
    def build_network(self) -> nn.Module:
        """Build the network from images to the logits of each task."""

    def predict(self, images: Tensor) -> list[Tensor]:
        """Return what the loss of each task reads, with a row for each image. By default, these are its logits."""
        return self.network(images)

    def sum_losses(self, predicted: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a task, summed over images. By default, it is the cross-entropy."""
        return functional.cross_entropy(predicted, labels, reduction="sum")

    def compute_losses(self, batches: list[TaskBatch]) -> list[Tensor]:
        """Return the mean loss of each task on its batch. All images pass the network together."""
        predicted = self.predict(torch.cat([batch.images for batch in batches]))
        losses, begin = [], 0
        for batch in batches:
            end = begin + len(batch.images)
            for task, labels in batch.labels.items():
                losses.append(self.sum_losses(predicted[task][begin:end], labels) / batch.mean_size)
            begin = end
        return losses

    def compute_loss(self, batches: list[TaskBatch]) -> Tensor:
        losses = self.compute_losses(batches)
        self.weighting.observe(losses, self.list_last_shared)
        return self.weighting(losses)

    def list_last_shared(self) -> list[nn.Parameter]:
        """Return the last layers that the losses of all tasks reach. GradNorm compares the gradients of the tasks there.

        By default this is the last matrix or kernel of each backbone. If there are several, one would favour a task.
        """
        backbones = [module for module in self.network.modules() if isinstance(module, Backbone)]
        return [[one for one in backbone.parameters() if one.ndim > 1][-1] for backbone in backbones]

    def list_groups(self) -> list[ParameterGroup]:
        groups = [ParameterGroup(list(self.network.parameters()))]
        return groups if self.weighting.writes_gradients else [*groups, *self._list_learned()]

    def _list_learned(self) -> list[ParameterGroup]:
        """Return the group of what the weighting learns, or nothing."""
        learned = list(self.weighting.parameters())
        return [ParameterGroup(learned, self.weighting.lr_factor, weight_decay=0.0)] if learned else []

    def list_players(self) -> list[Player]:
        """Return the player of the network, and one for a weighting that writes its own gradients.

        With an aggregator the network has a player without a loss.
        """
        if self.aggregator is not None:
            return [Player(self.network, self.build_optimizer(self.list_groups()))]
        if not self.weighting.writes_gradients:
            return super().list_players()
        trained = Player(self.network, self.build_optimizer(self.list_groups()), self.compute_loss)
        return [trained, Player(self.weighting, self.build_adamw(self._list_learned()), sees_images=False)]

    def step(self, players: list[Player], streams: Streams) -> Tensor:
        """Draw batches and take a step of the network, and of a weighting that writes its own gradients."""
        batches = [next(stream) for stream in streams]
        loss = self._descend(players[0], batches)
        for player in players[1:]:
            player.step()
        self.weighting.end_step()
        return loss

    def _descend(self, player: Player, batches: list[TaskBatch]) -> Tensor:
        """Take a step of the network by the rule. Return the loss of this rank."""
        if self.aggregator is None:
            return player.descend(batches)
        weighted = zip(self.aggregator.weights, self.compute_losses(batches), strict=True)
        losses = [weight * loss for weight, loss in weighted]
        write_gradients(self.network, losses, self.aggregator)
        player.step()
        return torch.stack(losses).detach().sum()

    def train_epoch(self, players: list[Player], streams: Streams, steps: int) -> Tensor:
        loss = super().train_epoch(players, streams, steps)
        self.weighting.end_epoch()
        return loss
