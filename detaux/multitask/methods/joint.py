"""Train all tasks together: one network, a loss for each task, and a rule that makes one loss of them.

Hard sharing and its relatives differ only in their network. `multitask.methods` names such a method by itself, with
fixed weights, or with a rule: hard_sharing+uncertainty.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from detaux.multitask.batches import TaskBatch
from detaux.multitask.methods.base import Method, ParameterGroup, TaskSpec
from detaux.multitask.weightings import WEIGHTINGS


class JointTraining(Method):
    """Train one network for all tasks by a weighted sum of the task losses. A subclass builds the network."""

    takes_mixed_labels = True

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        self.network = self.build_network()
        self.weighting = WEIGHTINGS[spec.rule](spec.config, len(spec.classes), spec.weight)

    @abstractmethod
    def build_network(self) -> nn.Module:
        """Build the network from images to the logits of each task."""

    def compute_losses(self, batches: list[TaskBatch]) -> list[Tensor]:
        """Return the cross-entropy of each task on its batch. All images pass the network together."""
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

    def list_groups(self) -> list[ParameterGroup]:
        groups = [ParameterGroup(list(self.network.parameters()))]
        if learned := list(self.weighting.parameters()):
            groups.append(ParameterGroup(learned, self.weighting.lr_factor, weight_decay=0.0))
        return groups
