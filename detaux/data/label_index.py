"""Draw images by their principal label, in time that does not grow with the number of images."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LabelIndex:
    """Hold the labelled images among W, L of them, in the order of their labels.

    order [L]; rank [W], the place of each image in `order`; start and count [C], the run of each class in `order`.
    """

    labels: Tensor
    order: Tensor
    rank: Tensor
    start: Tensor
    count: Tensor

    @classmethod
    def build(cls, labels_W: Tensor) -> "LabelIndex":
        """Sort the images by their labels [W], -1 for none."""
        order = labels_W.argsort(stable=True)[int((labels_W < 0).sum()) :]
        rank = torch.zeros_like(labels_W).scatter_(0, order, torch.arange(len(order)))
        count = torch.bincount(labels_W[order], minlength=1)
        return cls(labels_W, order, rank, count.cumsum(0) - count, count)

    def settle(self, anchors_B: Tensor, wants_different_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return whether the partner of each anchor has another label, and how many images it is drawn from, each [B].

        If no image fulfils a wish, it becomes the opposite wish. An anchor without a label (-1) has no partner.
        """
        labels_B = self.labels[anchors_B]
        same_B = torch.where(labels_B >= 0, self.count[labels_B] - 1, 0)
        other_B = torch.where(labels_B >= 0, len(self.order) - 1 - same_B, 0)
        takes_different_B = torch.where(wants_different_B, other_B > 0, same_B == 0)
        return takes_different_B, torch.where(takes_different_B, other_B, same_B)

    def draw(self, anchors_B: Tensor, wants_different_B: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a partner for each anchor uniformly, [B]; -1 if there is none.

        The partner has another label, or the same label and is another image.
        """
        takes_different_B, allowed_B = self.settle(anchors_B, wants_different_B)
        place_B = (torch.rand(anchors_B.shape, generator=generator, dtype=torch.float64) * allowed_B).long()
        label_B = self.labels[anchors_B].clamp_min(0)
        start_B, count_B = self.start[label_B], self.count[label_B]
        beyond_B = place_B + count_B * (place_B >= start_B)  # skip the run of the anchor's own label
        beside_B = start_B + place_B
        beside_B += beside_B >= self.rank[anchors_B]  # skip the anchor
        chosen_B = torch.where(takes_different_B, beyond_B, beside_B)[allowed_B > 0]
        return torch.full_like(anchors_B, -1).masked_scatter_(allowed_B > 0, self.order[chosen_B])

    def allow(self, anchors_B: Tensor, wants_different_B: Tensor) -> Tensor:
        """Return the images that `draw` may draw, bool [B, W]."""
        takes_different_B, allowed_B = self.settle(anchors_B, wants_different_B)
        is_same_BW = self.labels == self.labels[anchors_B, None]
        allowed_BW = (is_same_BW != takes_different_B[:, None]) & (self.labels >= 0) & (allowed_B[:, None] > 0)
        return allowed_BW.scatter_(1, anchors_B[:, None], False)
