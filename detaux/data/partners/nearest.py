"""Pair an image with one of those that look most like it, for real pictures: no two differ in exactly one factor.

With chance `pairs.different` the partner is any image of another principal label. Otherwise it is one of the
`pairs.nearest` images of the pool that are nearest to the first one, because near images mostly belong to one hidden
class. There are no walks, and the oracle reads no graph.

An image without a label (-1) serves as a first image and as a near one, never as a partner of another label.
"""

import torch
from torch import Tensor

from detaux.data.label_index import LabelIndex
from detaux.data.nearest import mine_nearest
from detaux.data.partners.base import PartnerRule
from detaux.data.window import Window


class NearestPartners(PartnerRule):
    """Take one of the nearest images of the pool."""

    needs_pool = True
    nearest: Tensor  # [P, pairs.nearest]
    index: LabelIndex

    def mine(self, pool: Window, noise: float, seed: int) -> None:
        self.nearest = mine_nearest(pool.all_images, self.config.nearest, noise, seed)
        self.index = LabelIndex.build(pool.labels)

    def draw(self, window: Window, anchors_B: Tensor, wants_different_B: Tensor, generator: torch.Generator) -> Tensor:
        partners = self.index.draw(anchors_B, wants_different_B, generator)
        column_B = torch.randint(self.nearest.shape[1], anchors_B.shape, generator=generator)
        return torch.where(wants_different_B & (partners >= 0), partners, self.nearest[anchors_B, column_B])
