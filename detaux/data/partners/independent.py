"""Pair an image with any image, as the official code does.

No label is needed, so images without one (-1) serve too. Such pairs differ in many factors.
"""

import torch
from torch import Tensor

from detaux.data.partners.base import PartnerRule
from detaux.data.window import Window


class IndependentPartners(PartnerRule):
    """Take any image."""

    needs_classes = False
    changes_many_factors = True

    def want_different(self, anchors_B: Tensor, generator: torch.Generator) -> Tensor:
        return torch.zeros_like(anchors_B, dtype=torch.bool)

    def draw(self, window: Window, anchors_B: Tensor, wants_different_B: Tensor, generator: torch.Generator) -> Tensor:
        return torch.randint(len(window.labels), anchors_B.shape, generator=generator)
