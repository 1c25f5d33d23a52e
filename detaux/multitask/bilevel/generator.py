"""Generate soft labels of a second task: each class of the principal task is divided into slots of its own."""

import torch
from torch import Tensor, nn

from detaux.runtime.collectives import global_mean


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the softmax over the entries of each row [B, M] with a true `mask`, which needs one; others are 0."""
    return torch.softmax(logits.masked_fill(~mask, -torch.inf), 1)


def compute_negative_entropy(usage: Tensor) -> Tensor:
    """Return sum_k u_k log u_k of a distribution [M]. It is smallest, -log M, if all entries are equal.

    Entries of 0, such as the slots of a class that is not in the batch, add nothing and get no gradient.
    """
    is_used = usage > 0
    return (usage * torch.where(is_used, usage, 1.0).log()).sum()


def average_labels(soft: Tensor, mean_size: float) -> Tensor:
    """Return the mean soft label [M] over the batch of all ranks, with its gradient, from this rank's part [b, M]."""
    return global_mean(soft.sum(0) / mean_size)


class LabelGenerator(nn.Module):
    """Map images [B, C, S, S] and their classes [B] to soft labels [B, M], which are 0 outside the class's own slots.

    `network` maps images to a list of one tensor of logits [B, M]. Class k has `slots[k]` of the M slots, in order.
    """

    owners: Tensor

    def __init__(self, network: nn.Module, slots: list[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("owners", torch.arange(len(slots)).repeat_interleave(torch.tensor(slots)))

    def forward(self, images: Tensor, classes: Tensor) -> Tensor:
        (logits,) = self.network(images)
        return masked_softmax(logits, self.owners == classes[:, None])
