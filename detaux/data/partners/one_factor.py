"""Pair images that differ in as few ground-truth factors as possible: an upper bound, not a method.

With chance `pairs.different` the partner has another principal label, else the same one. Among these images it is one
that differs in the fewest factors, but in at least one. Both images of a pair have a label. The rule reads ground
truth, and every output of a run says so.
"""

import torch
from torch import Tensor

from detaux.data.label_index import LabelIndex
from detaux.data.partners.base import PartnerRule, draw_allowed
from detaux.data.window import Window


class OneFactorPartners(PartnerRule):
    """Take an image that differs in the fewest known factors."""

    needs_factors = True
    uses_ground_truth = True

    def need_label(self, wants_different_B: Tensor) -> Tensor:
        return torch.ones_like(wants_different_B)

    def draw(self, window: Window, anchors_B: Tensor, wants_different_B: Tensor, generator: torch.Generator) -> Tensor:
        assert window.factors is not None
        allowed_BW = LabelIndex.build(window.labels).allow(anchors_B, wants_different_B)
        return draw_allowed(keep_fewest_changes(allowed_BW, window.factors, anchors_B), generator)


def keep_fewest_changes(allowed_BW: Tensor, factors_WF: Tensor, anchors_B: Tensor) -> Tensor:
    """Keep the allowed partners that differ from the anchor in the fewest factors, but in at least one."""
    changed = (factors_WF[anchors_B, None] != factors_WF).sum(2)
    changed = changed.masked_fill(~allowed_BW | (changed == 0), factors_WF.shape[1] + 1)
    return allowed_BW & (changed == changed.amin(1, keepdim=True))
