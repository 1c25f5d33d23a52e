"""Define a backbone: it gives maps with their channels and strides, and turns an image into one feature vector.

B images, S side in pixels, C channels of maps, h side of maps, F features.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Normalization:
    """Hold the mean and standard deviation of each channel that normalise images in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Published:
    """Describe files of published weights.

    `prefix` is (theirs, ours): their keys start with the first, ours with the second. A key that starts with one of
    `classifier` belongs to the classifier. `normalization` is the one that the weights expect.
    """

    prefix: tuple[str, str] = ("", "")
    classifier: tuple[str, ...] = ()
    normalization: Normalization | None = None


class Backbone(nn.Module, ABC):
    """A feature extractor: it turns images [B, 3, S, S] in [0, 1] into several maps and into features [B, F].

    `channels` and `strides` have a number for each of the maps [B, C, h, h], with h about S / stride.
    """

    published: ClassVar[Published] = Published()
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    features: int
    body: Any  # its layers have the names that are used in checkpoints
    mean: Tensor | None
    std: Tensor | None

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", None)
        self.register_buffer("std", None)

    def normalize_by(self, normalization: Normalization | None) -> None:
        """Normalise images from now on, unless `normalization` is None.

        Mean and std then belong to the state dict, so that a checkpoint keeps them.
        """
        if normalization is not None:
            self.mean = torch.tensor(normalization.mean)[:, None, None]
            self.std = torch.tensor(normalization.std)[:, None, None]

    def rename(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return published weights under the names that `published` describes. By default, they have them already."""
        return weights

    def normalize(self, images: Tensor) -> Tensor:
        """Normalise images [B, 3, S, S] as `normalize_by` said. They are then what the first layer takes."""
        return images if self.mean is None or self.std is None else (images - self.mean) / self.std

    @abstractmethod
    def iterate_maps(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the maps [B, C, h, h], from the finest to the coarsest."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Turn images [B, 3, S, S] into features [B, F]."""


class StagedBackbone(Backbone):
    """A backbone whose images pass one stage after the other. The last maps become the features."""

    @property
    @abstractmethod
    def stages(self) -> list[nn.Module]:
        """Return the stages in order. They share their weights with `body`.

        They are made anew at each call, because an engine may replace layers of `body` after the backbone is built.
        """

    @abstractmethod
    def pool(self, maps: Tensor) -> Tensor:
        """Turn the maps of the last stage [B, C, h, h] into features [B, F]."""

    def iterate_maps(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the maps [B, C, h, h] after each stage."""
        maps = self.normalize(images)
        for stage in self.stages:
            maps = stage(maps)
            yield maps

    def forward(self, images: Tensor) -> Tensor:
        *_, maps = self.iterate_maps(images)
        return self.pool(maps)


def cut(layers: nn.Sequential, ends: list[int]) -> list[nn.Module]:
    """Cut layers into consecutive parts. Each part stops just before the index that `ends` gives for it."""
    return [layers[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
