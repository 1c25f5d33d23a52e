"""What a rule of partners is, and what most rules share: a coin that asks for a partner of another principal label.

B pairs, W images of the pool or window that partners are drawn from.
"""

from typing import ClassVar

import torch
from torch import Tensor

from detaux.config.schema import PairsConfig
from detaux.data.neighbours import NeighbourGraph
from detaux.data.window import Window


class PartnerRule:
    """Draw the second image of each pair. A subclass says what it needs and draws the partners.

    All draws come from the generator that is given, in the same order on every call, since pairs are a pure function of
    seed and step.
    """

    needs_pool: ClassVar[bool] = False  # partners come from a fixed pool, else from the window that the stream is at
    needs_classes: ClassVar[bool] = True  # images of two principal labels
    needs_factors: ClassVar[bool] = False
    uses_ground_truth: ClassVar[bool] = False  # beyond the principal label: every number of a run is an upper bound
    mines_graph: ClassVar[bool] = False  # judging pairs are mined as training pairs are
    changes_many_factors: ClassVar[bool] = False  # a pair mostly differs in many factors at once
    graph: NeighbourGraph | None = None  # the one that the oracle reads, for a rule that walks along its edges

    def __init__(self, config: PairsConfig) -> None:
        self.config = config

    def mine(self, pool: Window, noise: float, seed: int) -> None:
        """Find neighbours in the pool, once a run. All ranks call it together. Only for a rule that needs a pool."""

    def want_different(self, anchors_B: Tensor, generator: torch.Generator) -> Tensor:
        """Draw which anchors ask for a partner of another label, bool [B]."""
        return torch.rand(anchors_B.shape, generator=generator) < self.config.different

    def need_label(self, wants_different_B: Tensor) -> Tensor:
        """Return which first images must have a principal label, bool [B]."""
        return wants_different_B

    def draw(self, window: Window, anchors_B: Tensor, wants_different_B: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the partner of each anchor, both as places in the window, int64 [B]; -1 if an anchor has none."""
        raise NotImplementedError


def draw_allowed(allowed_BW: Tensor, generator: torch.Generator) -> Tensor:
    """Draw an allowed column of each row uniformly, [B]; -1 if a row allows none."""
    keys = torch.rand(allowed_BW.shape, generator=generator).masked_fill_(~allowed_BW, -1.0)
    best = keys.max(1)
    return torch.where(best.values >= 0, best.indices, -1)
