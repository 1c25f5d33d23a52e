"""Define the parts of MTI-Net (Vandenhende et al. 2020) that work on the maps of one scale.

T tasks, B images, C channels of a scale, h side of its maps. Written from the equations, since the authors' code is
CC BY-NC.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def build_skip(before: int, after: int) -> nn.Module:
    """Build what a residual block adds: its input, or a 1x1 convolution of it if the number of channels changes."""
    if before == after:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))


def build_block(before: int, after: int) -> nn.Module:
    """Build a residual block of two 3x3 convolutions."""
    from torchvision.models.resnet import BasicBlock  # takes seconds to import

    return BasicBlock(before, after, downsample=build_skip(before, after))


def resize(maps: Tensor, side: int) -> Tensor:
    """Resize maps [B, C, h, h] to another side. A factor of 2 would not do, because sides need not be even."""
    return functional.interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)


def compute_mask(values: Tensor, tasks: int, form: str) -> Tensor:
    """Turn values [B, T C, h, h], task after task, into a mask of that shape: the softmax over the tasks.

    With the form `official` it is the softmax over T adjacent channels, which are of one task, as in the released code.
    """
    if form == "official":
        return values.unflatten(1, (-1, tasks)).softmax(2).flatten(1, 2)
    return values.unflatten(1, (tasks, -1)).softmax(1).flatten(1, 2)


class Propagation(nn.Module):
    """Pass the maps of all tasks on to the next finer scale (paper, section 3.3).

    U are the maps of all tasks, M is a mask from U, and S a block of M * U that all tasks share. Task t passes on
    P_t = SE_t(S) + F_t, with its own squeeze and excitation SE_t. With one task the mask is 1.
    """

    def __init__(self, tasks: int, channels: int, form: str) -> None:
        super().__init__()
        from torchvision.ops import SqueezeExcitation

        self.tasks, self.form = tasks, form
        width, narrow = tasks * channels, tasks * channels // 4
        blocks = (build_block(width, narrow), build_block(narrow, narrow), nn.Conv2d(narrow, width, 1))
        self.mask = nn.Sequential(*blocks) if tasks > 1 else None
        self.shared = build_block(width, channels)
        self.gates = nn.ModuleList(SqueezeExcitation(channels, channels // 16) for _ in range(tasks))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Turn the maps [B, C, h, h] of each task into those that it passes on, of the same shape."""
        joined = torch.cat(maps, 1)
        if self.mask is not None:
            joined = joined * compute_mask(self.mask(joined), self.tasks, self.form)
        shared = self.shared(joined)
        return [gate(shared) + each for gate, each in zip(self.gates, maps, strict=True)]


class Distillation(nn.Module):
    """Add to the maps of each task what those of the others say (paper, section 3.4).

    O_t = F_t + sum_{u != t} sigmoid(G_tu * F_u) (E_tu * F_u), with 3x3 convolutions G and E without bias. Those of a
    task u are rows of one convolution, for each other task in order: G, then E.
    """

    def __init__(self, tasks: int, channels: int) -> None:
        super().__init__()
        self.sources = nn.ModuleList(
            nn.Conv2d(channels, 2 * (tasks - 1) * channels, 3, padding=1, bias=False) for _ in range(tasks)
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Turn the maps [B, C, h, h] of each task into distilled ones of the same shape."""
        distilled = list(maps)
        for source, (convolution, own) in enumerate(zip(self.sources, maps, strict=True)):
            others = [task for task in range(len(maps)) if task != source]
            parts = convolution(own).chunk(2 * len(others), 1)
            for task, gate, message in zip(others, parts[::2], parts[1::2], strict=True):
                distilled[task] = distilled[task] + gate.sigmoid() * message
        return distilled
