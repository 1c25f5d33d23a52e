"""Pair images by their principal labels, as the paper says.

With chance `pairs.different` the partner is any image of another principal label, else any image of the same one. Both
images of a pair have a label. Such pairs differ in nearly every other factor.
"""

import torch
from torch import Tensor

from detaux.data.label_index import LabelIndex
from detaux.data.partners.base import PartnerRule
from detaux.data.window import Window


class LabelPartners(PartnerRule):
    """Take any image of the label that the coin asks for."""

    changes_many_factors = True

    def need_label(self, wants_different_B: Tensor) -> Tensor:
        return torch.ones_like(wants_different_B)

    def draw(self, window: Window, anchors_B: Tensor, wants_different_B: Tensor, generator: torch.Generator) -> Tensor:
        return LabelIndex.build(window.labels).draw(anchors_B, wants_different_B, generator)
