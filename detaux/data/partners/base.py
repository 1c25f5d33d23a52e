"""Define a rule that draws partners, and the coin that most rules share: it asks for a partner of another label.

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

    All draws come from the given generator, in the same order on every call, because pairs are a pure function of seed
    and step.
    """

    needs_pool: ClassVar[bool] = False  # partners come from a fixed pool; if False, from the stream's current window
    needs_classes: ClassVar[bool] = True  # the images must have at least two principal labels
    needs_factors: ClassVar[bool] = False  # ground-truth factors must be known
    uses_ground_truth: ClassVar[bool] = False  # besides the principal label, so each number of a run is an upper bound
    mines_graph: ClassVar[bool] = False  # if True, discovery mines its judging pairs in the same way
    changes_many_factors: ClassVar[bool] = False  # a pair mostly differs in many factors at once
    graph: NeighbourGraph | None = None  # for a rule that walks along edges; the oracle gives each a subspace

    def __init__(self, config: PairsConfig) -> None:
        self.config = config

    def mine(self, pool: Window, noise: float, seed: int) -> None:
        """Find neighbours in the pool, once a run. All ranks call it together. Only rules that need a pool have it."""

    def want_different(self, anchors_B: Tensor, generator: torch.Generator) -> Tensor:
        """Draw which anchors ask for a partner of another label, bool [B]."""
        return torch.rand(anchors_B.shape, generator=generator) < self.config.different

    def need_label(self, wants_different_B: Tensor) -> Tensor:
        """Return which first images must have a principal label, bool [B]: by default those that the coin chose."""
        return wants_different_B

    def draw(self, window: Window, anchors_B: Tensor, wants_different_B: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a partner for each anchor, int64 [B]; -1 if it has none. Both are places in the window."""
        raise NotImplementedError


def draw_allowed(allowed_BW: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one allowed column of each row uniformly, [B]; -1 if a row allows none."""
    keys = torch.rand(allowed_BW.shape, generator=generator).masked_fill_(~allowed_BW, -1.0)
    best = keys.max(1)
    return torch.where(best.values >= 0, best.indices, -1)
