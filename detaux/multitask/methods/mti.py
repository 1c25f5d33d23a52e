"""Train MTI-Net: tasks exchange their maps at every scale of an HRNet, and each scale predicts before (deep supervision).

B images, K classes of a task, P positions with logits.
"""

import torch
from torch import Tensor
from torch.nn import functional

from detaux.multitask.methods.base import TaskSpec
from detaux.multitask.methods.joint import JointTraining
from detaux.multitask.networks.mti import MtiNetwork


class Mti(JointTraining):
    """Train MTI-Net. The loss of a task is L(final) + deep_supervision * sum over scales of L(initial).

    L is the cross-entropy, or its mean over positions if logits are maps.
    """

    network: MtiNetwork
    shares: Tensor

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        self.register_buffer("shares", self._compute_shares(), persistent=False)

    def build_network(self) -> MtiNetwork:
        return MtiNetwork(self.spec.config, self.spec.side, self.spec.classes)

    def predict(self, images: Tensor) -> list[Tensor]:
        """Return the logits [B, P, K] of each task: final ones, then initial ones, at all their positions."""
        return [torch.cat(logits, 1) for logits in self.network.predict(images)]

    def sum_losses(self, predicted: Tensor, labels: Tensor) -> Tensor:
        everywhere = labels.repeat_interleave(len(self.shares), 0)  # classes, or mixed ones with a row for each image
        losses = functional.cross_entropy(predicted.flatten(0, 1), everywhere, reduction="none")
        return (self.shares * losses.unflatten(0, (-1, len(self.shares)))).sum()

    def _compute_shares(self) -> Tensor:
        """Return the weight of each position in the loss of a task [P]."""
        config, sides = self.spec.config.mti, self.network.backbone.sides
        counts = [side**2 if config.loss == "pixel" else 1 for side in (sides[0], *sides)]
        weights = [1.0, *([config.deep_supervision] * len(sides))] if config.deep_supervision else [1.0]
        shares = zip(weights, counts, strict=False)
        return torch.cat([torch.full((count,), weight / count) for weight, count in shares])
