"""Hold recombined images: each shows one image with the label of another class."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RecombinedImages:
    """Hold M recombined images: uint8 [M, H, W, C], their labels int64 [M], and the images whose code they have.

    `donors` int64 [M] are the places of these in their split. `share` is the share of a batch that recombined images
    take.
    """

    images: Tensor
    labels: Tensor
    donors: Tensor
    share: float

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """Draw the places of the recombined images of a batch of `size` images, on the host."""
        return torch.randint(len(self.labels), (round(self.share * size),), generator=generator)
