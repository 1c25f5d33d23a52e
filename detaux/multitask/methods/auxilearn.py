"""Train with generated labels and a learned combination of both losses (AuxiLearn, generating mode)."""

import dataclasses

from torch import Tensor

from detaux.multitask.batches import Stream, TaskBatch, TrainingData
from detaux.multitask.bilevel.generator import LabelGenerator
from detaux.multitask.bilevel.label_statistics import LabelStatistics
from detaux.multitask.methods.base import Player, Streams, TaskSpec
from detaux.multitask.methods.learned_loss import LearnedLoss
from detaux.multitask.networks.hard_sharing import HardSharingNetwork


class AuxiLearn(LearnedLoss):
    """Learn which soft labels a second network gives each image, and how the loss on them joins the principal one."""

    reads_labels = False

    def __init__(self, spec: TaskSpec) -> None:
        settings = spec.config.auxilearn
        slots = [settings.slots] * spec.classes[0]
        network = HardSharingNetwork(spec.config, spec.side, [spec.classes[0], sum(slots)])
        super().__init__(spec, network, 2, settings.generated_weight, settings.focal_gamma)
        without_dropout = dataclasses.replace(spec.config, dropout=0.0)
        self.generator = LabelGenerator(HardSharingNetwork(without_dropout, spec.side, [sum(slots)]), slots)
        self.loss_parts.append(self.generator)
        self.statistics = LabelStatistics(slots)

    def list_training_streams(self, data: TrainingData, is_training: Tensor) -> list[Stream]:
        return [Stream((0,), data.labelled[is_training[data.labelled]])]

    def complete_labels(self, batch: TaskBatch) -> TaskBatch:
        soft = self.generator(batch.images, batch.labels[0])
        self.statistics.add(soft)
        return dataclasses.replace(batch, labels={**batch.labels, 1: soft})

    def train_epoch(self, players: list[Player], streams: Streams, steps: int) -> Tensor:
        self.statistics.clear()
        return super().train_epoch(players, streams, steps)

    def describe_epoch(self) -> dict[str, float]:
        return {**super().describe_epoch(), **self.statistics.describe()}
