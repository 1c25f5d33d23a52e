"""Define the HRNet backbones, with timm's networks (Wang et al. 2020): four branches of maps side by side."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from detaux.backbones.backbone import IMAGENET, Backbone, Published
from detaux.backbones.padding import PadTo, round_up
from detaux.errors import UserError


def _build_branches(name: str) -> Any:
    """Build timm's network up to its four branches, randomly initialised. Raises UserError if timm is not installed."""
    try:
        import timm  # takes seconds to import
    except ModuleNotFoundError as error:
        raise UserError(
            f"the backbone {name} needs the Python package {error.name}; run `pip install 'detaux[timm]'`."
        ) from None
    # by default timm takes wider maps from the classifier, and index 0 is the stem
    return timm.create_model(name, pretrained=False, features_only=True, feature_location="", out_indices=(1, 2, 3, 4))


class HighResolutionNet(Backbone):
    """Take HRNet up to the last maps of its branches. The features are the means of all maps, branch by branch.

    A branch adds enlarged maps of the branches below it, so the side must be a multiple of 32. Images of other sides
    are padded with zeros at the right and the bottom, after normalisation.
    """

    published = Published(
        classifier=("incre_modules.", "downsamp_modules.", "final_layer.", "classifier."), normalization=IMAGENET
    )
    channels, strides = (18, 36, 72, 144), (4, 8, 16, 32)
    features = sum(channels)

    def __init__(self, side: int, name: str = "hrnet_w18") -> None:
        super().__init__(_build_branches(name))
        self.pad = PadTo(round_up(side, self.strides[-1]))

    @property
    def sides(self) -> list[int]:
        """Return the side of the maps of each branch."""
        return [self.pad.side // stride for stride in self.strides]

    def iterate_maps(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the last maps [B, C, h, h] of each branch, from the finest to the coarsest."""
        yield from self.body(self.pad(self.normalize(images)))

    def pool(self, maps: list[Tensor]) -> Tensor:
        """Concatenate the means of the maps of all branches [B, C, h, h] to features [B, F]."""
        return torch.cat([each.mean((2, 3)) for each in maps], 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.pool(list(self.iterate_maps(images)))
