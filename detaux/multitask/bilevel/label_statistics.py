"""Measure how sharp generated labels are, and how many of their slots are in use.

Generators are known to end at labels that are nearly uniform over a class's slots, which then carry no task.
"""

import torch
from torch import Tensor

from detaux.runtime.collectives import global_mean


class LabelStatistics:
    """Sum soft labels on their device over the batches of an epoch. Class k has `slots[k]` slots."""

    def __init__(self, slots: list[int]) -> None:
        self.slots = slots
        self.clear()

    def clear(self) -> None:
        """Forget all labels."""
        self._spread: Tensor | None = None
        self._usage: Tensor | None = None
        self._images = 0

    def add(self, soft: Tensor) -> None:
        """Add this rank's soft labels [b, M] of a batch."""
        soft = soft.detach()
        spread, usage = _count_effective(soft).sum(), soft.sum(0)
        self._spread = spread if self._spread is None else self._spread + spread
        self._usage = usage if self._usage is None else self._usage + usage
        self._images += len(soft)

    def describe(self) -> dict[str, float]:
        """Return two numbers of slots over all ranks, or {} without labels. A number is exp(entropy).

        `slots_per_image` is the mean over images of the slots that one label spreads over: 1 if labels are hard, all
        slots of a class if they are uniform. `slots_per_class` is the mean over the classes of the slots that the
        labels of a class use together.
        """
        if self._spread is None or self._usage is None:
            return {}
        images = self._spread.new_tensor([self._images])
        spread, total, usage = global_mean(torch.cat([self._spread[None], images, self._usage])).split(
            [1, 1, len(self._usage)]
        )
        # a class without images has no labels; a generator that has diverged leaves NaN
        shares = [part / part.sum() for part in usage.split(self.slots) if not bool(part.sum() == 0)]
        per_class = torch.stack([_count_effective(share[None]) for share in shares]).mean()
        return {"slots_per_image": float(spread / total), "slots_per_class": float(per_class)}


def _count_effective(rows: Tensor) -> Tensor:
    """Return exp(entropy) of each distribution [B, M]."""
    return torch.special.entr(rows).sum(1).exp()
