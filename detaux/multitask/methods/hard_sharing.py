"""Train one network for all tasks (hard parameter sharing), with task losses summed by fixed weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from detaux.multitask.batches import TaskBatch
from detaux.multitask.methods.base import Method, TaskSpec
from detaux.multitask.networks.hard_sharing import HardSharingNetwork
from detaux.multitask.weightings.fixed import FixedWeights


class HardSharing(Method):
    """Train one backbone with a head for each task, by a weighted sum of the task losses."""

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        self.network = HardSharingNetwork(spec.config, spec.side, spec.classes)
        self.weighting = self.build_weighting()

    def build_weighting(self) -> nn.Module:
        return FixedWeights(len(self.spec.classes), self.spec.weight)

    def compute_losses(self, batches: list[TaskBatch]) -> list[Tensor]:
        """Return the cross-entropy of each task on its batch. All images pass the backbone together."""
        logits = self.network(torch.cat([batch.images for batch in batches]))
        losses, begin = [], 0
        for batch in batches:
            end = begin + len(batch.images)
            for task, labels in batch.labels.items():
                total = functional.cross_entropy(logits[task][begin:end], labels, reduction="sum")
                losses.append(total / batch.mean_size)
            begin = end
        return losses

    def compute_loss(self, batches: list[TaskBatch]) -> Tensor:
        return self.weighting(self.compute_losses(batches))
