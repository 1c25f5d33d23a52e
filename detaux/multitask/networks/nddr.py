"""Define the network of NDDR-CNN (Gao et al. 2019): a backbone for each task, fused after every stage.

T tasks, B images, C channels of a stage, h side of its maps. The fusion of task t (paper, Eq. 1) is
F'_t = ReLU(BN(W_t concat_u F_u)): W_t is a 1x1 convolution [C, T C] without bias, and u runs over the branches in the
order of the tasks. Written from the equations, since the authors' code has no licence.
"""

from typing import Any

import torch
from torch import Tensor, nn

from detaux.backbones import build_backbone
from detaux.backbones.backbone import StagedBackbone
from detaux.backbones.pretrained import load_pretrained
from detaux.config.schema import MultitaskConfig
from detaux.errors import UserError
from detaux.multitask.networks.heads import build_head

MOMENTUM = 0.05  # of batch normalisation; the authors' decay of 0.95, in torch's meaning


class Fusion(nn.Module):
    """Mix the maps of all branches: one convolution [T C, T C], whose rows of task t are its W_t."""

    def __init__(self, tasks: int, channels: int, alpha: float) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(tasks * channels, tasks * channels, 1, bias=False)
        self.normalization = nn.BatchNorm2d(tasks * channels, momentum=MOMENTUM)
        beta = (1 - alpha) / (tasks - 1) if tasks > 1 else 0.0
        own = torch.eye(tasks)
        with torch.no_grad():
            shares = alpha * own + beta * (1 - own)
            self.convolution.weight.copy_(torch.kron(shares, torch.eye(channels))[:, :, None, None])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Turn the maps [B, C, h, h] of each task's branch into the fused ones of each task, of the same shape."""
        fused = torch.relu(self.normalization(self.convolution(torch.cat(maps, dim=1))))
        return list(fused.chunk(len(maps), dim=1))


class NddrNetwork(nn.Module):
    """Map images to the logits of each task through branches that exchange their maps after every stage.

    The branches start from different random weights. If a file of pretrained weights is given, all start from it.
    """

    branches: Any  # a ModuleList of backbones
    fusions: Any  # a ModuleList of Fusion

    def __init__(self, config: MultitaskConfig, side: int, classes: list[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(build_backbone(config.backbone, side) for _ in classes)
        if config.pretrained:
            for branch in self.branches:
                load_pretrained(branch, config.backbone, config.pretrained, "multitask.pretrained")
        first = self.branches[0]
        if not isinstance(first, StagedBackbone):
            raise UserError(
                f"multitask.backbone={config.backbone} has no stages, after which nddr fuses; use another backbone."
            )
        self.fusions = nn.ModuleList(Fusion(len(classes), count, config.nddr.alpha) for count in first.channels)
        self.heads = nn.ModuleList(
            build_head(first.features, config.head_hidden, config.dropout, count) for count in classes
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [branch.normalize(images) for branch in self.branches]
        for fusion, *stages in zip(self.fusions, *(branch.stages for branch in self.branches), strict=True):
            maps = fusion([stage(each) for stage, each in zip(stages, maps, strict=True)])
        pairs = zip(self.branches, self.heads, maps, strict=True)
        return [head(branch.pool(each)) for branch, head, each in pairs]
