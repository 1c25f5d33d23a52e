"""Hold recombined images: what a code keeps of one image beside its label, decoded under any label."""

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

    def list_without(self, donors: Tensor) -> Tensor:
        """Return the places of the recombined images that have not the code of one of these images."""
        return torch.nonzero(~torch.isin(self.donors, donors)).squeeze(1)

    def draw(self, size: int, places: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the recombined images of a batch of `size` images among `places`, on the host."""
        return places[torch.randint(len(places), (round(self.share * size),), generator=generator)]
