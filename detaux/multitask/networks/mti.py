"""Define MTI-Net (Vandenhende et al. 2020) for labels of whole images, on the four branches of an HRNet.

T tasks, B images, S scales from fine to coarse, C channels of a scale, h side of its maps, K classes of a task, P
positions with logits. The paper predicts maps; its author says that it does not apply to labels of images. Here the
maps of logits are averaged, or trained as maps that hold the label at every position.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detaux.backbones.hrnet import HighResolutionNet
from detaux.backbones.pretrained import load_pretrained
from detaux.config.schema import MtiConfig, MultitaskConfig
from detaux.errors import UserError
from detaux.multitask.networks.heads import build_head
from detaux.multitask.networks.mti_parts import Distillation, Propagation, build_block, build_skip, resize


class Classifier(nn.Module):
    """Map maps [B, C, h, h] to logits [B, P, K]: of their mean (P = 1), or at every position (P = h h).

    A linear layer of the mean equals the mean of a 1x1 convolution.
    """

    def __init__(self, channels: int, classes: int, *, is_dense: bool) -> None:
        super().__init__()
        self.linear, self.is_dense = nn.Linear(channels, classes), is_dense

    def forward(self, maps: Tensor) -> Tensor:
        positions = maps.flatten(2).transpose(1, 2) if self.is_dense else maps.mean((2, 3))[:, None]
        return self.linear(positions)


class AggregateHead(nn.Module):
    """Mix the maps of all scales at the finest one, by a 1x1 convolution, and classify the result."""

    def __init__(self, channels: int, classes: int, *, is_dense: bool) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.classifier = Classifier(channels, classes, is_dense=is_dense)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        side = maps[0].shape[2]
        return self.classifier(self.mix(torch.cat([maps[0], *(resize(each, side) for each in maps[1:])], 1)))


class PooledHead(nn.Module):
    """Classify the means of the maps of all scales, by the head of the other methods."""

    def __init__(self, channels: int, config: MultitaskConfig, classes: int) -> None:
        super().__init__()
        self.layers = build_head(channels, config.head_hidden, config.dropout, classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.layers(torch.cat([each.mean((2, 3)) for each in maps], 1))[:, None]


class TaskHead(nn.Module):
    """Hold the layers that only the loss of one task reaches: the final classifier, and one for each scale before."""

    def __init__(self, channels: tuple[int, ...], config: MultitaskConfig, classes: int) -> None:
        super().__init__()
        mti, is_dense = config.mti, config.mti.loss == "pixel"
        if mti.head == "aggregate":
            self.final: nn.Module = AggregateHead(sum(channels), classes, is_dense=is_dense)
        else:
            self.final = PooledHead(sum(channels), config, classes)
        counts = channels if mti.deep_supervision else ()  # a layer without a loss would get no gradient
        self.initial = nn.ModuleList(Classifier(count, classes, is_dense=is_dense) for count in counts)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Turn distilled maps of all scales into logits [B, P, K]."""
        return self.final(maps)

    def predict_initial(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn refined maps of all scales into logits [B, P, K] of each, or into none without deep supervision."""
        return [layer(each) for layer, each in zip(self.initial, maps, strict=False)]


class MtiNetwork(nn.Module):
    """Map images to the logits of each task: predict at each scale, pass on to the next, and let tasks exchange."""

    refinements: Any  # ModuleList over scales of ModuleList over tasks
    propagations: Any  # ModuleList over the scales but the finest
    heads: Any  # ModuleList of TaskHead

    def __init__(self, config: MultitaskConfig, side: int, classes: list[int]) -> None:
        super().__init__()
        mti, tasks = config.mti, len(classes)
        if mti.loss == "pixel" and mti.head == "pooled":
            raise UserError(
                "multitask.mti.loss=pixel needs the maps of multitask.mti.head=aggregate; change one of them."
            )
        self.backbone = HighResolutionNet(side, mti.backbone)
        if mti.pretrained:
            load_pretrained(self.backbone, mti.backbone, mti.pretrained, "multitask.mti.pretrained")
        channels = self.backbone.channels
        passes_on = mti.propagation != "none"
        coarser = [*channels[1:], 0] if passes_on else [0] * len(channels)
        self.refinements = nn.ModuleList(
            nn.ModuleList(_build_refinement(own + below, own, mti) for _ in classes)
            for own, below in zip(channels, coarser, strict=True)
        )
        self.propagations = nn.ModuleList(
            Propagation(tasks, count, mti.propagation) for count in (channels[1:] if passes_on else ())
        )
        exchanges = mti.distillation and tasks > 1
        self.distillations = nn.ModuleList(Distillation(tasks, count) for count in (channels if exchanges else ()))
        self.heads = nn.ModuleList(TaskHead(channels, config, count) for count in classes)

    def refine(self, images: Tensor) -> list[list[Tensor]]:
        """Return the maps F [B, C, h, h] of each scale and task. Those of a scale get what the next coarser passes on."""
        branches, refined = list(self.backbone.iterate_maps(images)), list[list[Tensor]]()
        passed: list[Tensor] = []
        for scale in reversed(range(len(branches))):
            branch, layers = branches[scale], self.refinements[scale]
            inputs = [torch.cat([branch, resize(each, branch.shape[2])], 1) for each in passed]
            inputs = inputs or [branch] * len(layers)
            refined.insert(0, [layer(each) for layer, each in zip(layers, inputs, strict=True)])
            if scale and len(self.propagations):
                passed = self.propagations[scale - 1](refined[0])
        return refined

    def distill(self, refined: list[list[Tensor]]) -> list[list[Tensor]]:
        """Turn the maps F of each scale and task into the distilled maps O of the same shapes."""
        if not len(self.distillations):
            return refined
        return [layer(maps) for layer, maps in zip(self.distillations, refined, strict=True)]

    def predict(self, images: Tensor) -> list[list[Tensor]]:
        """Return all logits [B, P, K] of each task: the final ones, then the initial ones of each scale, if there are."""
        refined = self.refine(images)
        tasks = zip(self.heads, zip(*refined, strict=True), zip(*self.distill(refined), strict=True), strict=True)
        return [[head(final), *head.predict_initial(initial)] for head, initial, final in tasks]

    def forward(self, images: Tensor) -> list[Tensor]:
        distilled = zip(*self.distill(self.refine(images)), strict=True)
        return [head(maps).mean(1) for head, maps in zip(self.heads, distilled, strict=True)]


def _build_refinement(before: int, after: int, config: MtiConfig) -> nn.Module:
    """Build two residual blocks, or only what is needed to get the right number of channels."""
    if not config.refine:
        return build_skip(before, after)
    return nn.Sequential(build_block(before, after), build_block(after, after))
