"""Train with labels that a second network generates so that they help the principal task (MAXL).

Source: Liu, Davison and Johns, Self-Supervised Generalisation with Meta Auxiliary Learning, NeurIPS 2019.
"""

import dataclasses

import torch
from torch import Tensor

from detaux.multitask.batches import TaskBatch
from detaux.multitask.bilevel.focal import focal_loss
from detaux.multitask.bilevel.generator import LabelGenerator, average_labels, compute_negative_entropy
from detaux.multitask.bilevel.hypergradient import (
    build_exact_objective,
    build_first_order_objective,
    write_gradients,
)
from detaux.multitask.bilevel.label_statistics import LabelStatistics
from detaux.multitask.bilevel.snapshot import Snapshot
from detaux.multitask.methods.base import Method, ParameterGroup, Player, Streams, TaskSpec
from detaux.multitask.networks.hard_sharing import HardSharingNetwork

OBJECTIVES = {"exact": build_exact_objective, "first_order": build_first_order_objective}


class Maxl(Method):
    """Train hard sharing's network on the principal labels and on generated ones, and the generator by its effect.

    An epoch is a pass in which the network moves, and a second pass in which only the generator moves. The generator
    minimises the principal loss of the same batch after a virtual step of the network, plus the term that keeps all
    slots in use. The virtual step is gradient descent, as in the released code, also though AdamW takes the real steps.
    """

    reads_labels = False
    unstable_keys = "multitask.lr or multitask.maxl.virtual_lr_factor"

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        self.settings = spec.config.maxl
        self.differentiates_twice = self.settings.gradient == "exact"
        slots = [self.settings.slots] * spec.classes[0]
        self.network = HardSharingNetwork(spec.config, spec.side, [spec.classes[0], sum(slots)])
        without_dropout = dataclasses.replace(spec.config, dropout=0.0)
        self.generator = LabelGenerator(HardSharingNetwork(without_dropout, spec.side, [sum(slots)]), slots)
        self.statistics = LabelStatistics(slots)

    def list_players(self) -> list[Player]:
        learner = self.build_adamw([ParameterGroup(list(self.network.parameters()))])
        group = ParameterGroup(list(self.generator.parameters()), self.settings.lr_factor, self.settings.weight_decay)
        teacher = self.build_adamw([group])
        return [Player(self.network, learner, self.compute_loss), Player(self.generator, teacher)]

    def compute_loss(self, batches: list[TaskBatch]) -> Tensor:
        (batch,) = batches
        with torch.no_grad():
            soft = self.generator(batch.images, batch.labels[0])
        return self._measure(self.network(batch.images), batch, soft)

    def step(self, players: list[Player], streams: Streams) -> Tensor:
        return players[0].descend([next(stream) for stream in streams])

    def train_epoch(self, players: list[Player], streams: Streams, steps: int) -> Tensor:
        """Take the steps of a pass with the network, then those of another with the generator."""
        lr = self.compute_virtual_lr(players[0])  # before the pass: after the last one the rate has decayed to 0
        loss = super().train_epoch(players, streams, steps)
        self.statistics.clear()
        for _ in range(steps):
            self.teach(players[1], next(streams[0]), lr)
        return loss

    def compute_virtual_lr(self, learner: Player) -> float:
        """Return the learning rate of the network's virtual step, a multiple of that of its real ones."""
        lr: float = learner.optimizer.param_groups[0]["lr"]
        return self.settings.virtual_lr_factor * lr

    def teach(self, teacher: Player, batch: TaskBatch, lr: float) -> None:
        """Take a step of the generator. `lr` is that of the network's virtual step."""
        soft = self.generator(batch.images, batch.labels[0])
        snapshot = Snapshot(self.network)

        def train_loss(weights: list[Tensor]) -> Tensor:
            return self._measure(snapshot.call(weights, batch.images), batch, soft)

        def goal_loss(weights: list[Tensor]) -> Tensor:
            return self._measure_principal(snapshot.call(weights, batch.images), batch)

        objective = OBJECTIVES[self.settings.gradient](train_loss, goal_loss, snapshot.weights, lr)
        usage = average_labels(soft, batch.mean_size)
        objective = objective + self.settings.entropy_weight * compute_negative_entropy(usage)
        write_gradients(objective, list(self.generator.parameters()))
        teacher.step()
        self.statistics.add(soft)

    def describe_epoch(self) -> dict[str, float]:
        return self.statistics.describe()

    def _measure_principal(self, logits: list[Tensor], batch: TaskBatch) -> Tensor:
        return focal_loss(logits[0], batch.labels[0], self.settings.focal_gamma).sum() / batch.mean_size

    def _measure(self, logits: list[Tensor], batch: TaskBatch, soft: Tensor) -> Tensor:
        auxiliary = focal_loss(logits[1], soft, self.settings.focal_gamma).sum() / batch.mean_size
        return self._measure_principal(logits, batch) + auxiliary
