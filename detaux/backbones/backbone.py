"""Define what every backbone offers: stages with their channels and strides, and one feature vector an image.

B images, S side in pixels, C channels of a stage, h side of its maps, F features.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Normalization:
    """Hold the mean and standard deviation of each channel by which images in [0, 1] are normalised."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Published:
    """Say how published files name a backbone's weights, and what their images were normalised by.

    A key begins with `prefix[0]` there and with `prefix[1]` in our body. Keys that begin with one of `classifier` belong to
    the classifier, which is left out.
    """

    prefix: tuple[str, str] = ("", "")
    classifier: tuple[str, ...] = ()
    normalization: Normalization | None = None


class Backbone(nn.Module, ABC):
    """Extract features: images [B, 3, S, S] in [0, 1] pass the stages, and the last maps become features [B, F].

    `channels` and `strides` have a number for each stage: its maps are [B, C, h, h] with h about S / stride.
    """

    published: ClassVar[Published] = Published()
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    features: int
    body: Any  # a module whose layers have the names that checkpoints know
    mean: Tensor | None
    std: Tensor | None

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", None)
        self.register_buffer("std", None)

    @property
    @abstractmethod
    def stages(self) -> list[nn.Module]:
        """Return the stages in their order; they share their weights with `body`."""

    @abstractmethod
    def pool(self, maps: Tensor) -> Tensor:
        """Turn the maps of the last stage [B, C, h, h] into features [B, F]."""

    def normalize_by(self, normalization: Normalization | None) -> None:
        """Normalise images from now on, if there is something to do it by. Mean and std belong to the state dict then, so that a
        checkpoint keeps them."""
        if normalization is not None:
            self.mean = torch.tensor(normalization.mean)[:, None, None]
            self.std = torch.tensor(normalization.std)[:, None, None]

    def iterate_maps(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the maps [B, C, h, h] after each stage."""
        maps = images
        if self.mean is not None and self.std is not None:
            maps = (images - self.mean) / self.std
        for stage in self.stages:
            maps = stage(maps)
            yield maps

    def forward(self, images: Tensor) -> Tensor:
        """Turn images [B, 3, S, S] into features [B, F]."""
        *_, maps = self.iterate_maps(images)
        return self.pool(maps)


def cut(layers: nn.Sequential, ends: list[int]) -> list[nn.Module]:
    """Cut layers into parts, each of which ends before the layer at its end."""
    return [layers[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
