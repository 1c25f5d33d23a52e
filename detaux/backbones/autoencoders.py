"""Build encoders f and decoders g (paper, Eq. 1), which map an image to a latent code and back.

N images, C channels, S side in pixels, D latent size. If the side of an image does not fit the strides, the encoder
pads it with zeros and the decoder crops its output. A code is a vector, or a map of M channels on a grid of G x G. A
map is stored as a vector, position by position: D = G G M.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from detaux.backbones import resnet
from detaux.backbones.padding import PadTo, round_up

CHANNELS = 3
HIDDEN = 256  # width of the fully connected layers in the official code


class CropTo(nn.Module):
    """Keep the upper left [side, side] of images [N, C, S, S]."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        return images[..., : self.side, : self.side]


class FlattenMap(nn.Module):
    """Turn maps [N, M, G, G] into codes [N, G G M], position by position."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(0, 2, 3, 1).flatten(1)


class UnflattenMap(nn.Module):
    """Reverse FlattenMap for a given grid G."""

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, codes: Tensor) -> Tensor:
        return codes.unflatten(1, (self.grid, self.grid, -1)).permute(0, 3, 1, 2)


def build_patch_conv(side: int, latent: int) -> tuple[nn.Module, nn.Module]:
    """Build an encoder of patches on an 8x8 grid, one strided convolution and two linear layers, and its mirror.

    The patches do not overlap. It has most of the quality of `simple_conv` at an eighth of its work.
    """
    patch = max(1, round_up(side, 8) // 8)
    padded = patch * 8
    encoder = nn.Sequential(
        PadTo(padded),
        nn.Conv2d(CHANNELS, 32, patch, patch),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, latent),
    )
    decoder = nn.Sequential(
        nn.Linear(latent, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, 64 * 4 * 4),
        nn.ReLU(),
        nn.Unflatten(1, (64, 4, 4)),
        nn.ConvTranspose2d(64, 32, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(32, CHANNELS, patch, patch),
        CropTo(side),
    )
    return encoder, decoder


def build_simple_conv(side: int, latent: int) -> tuple[nn.Module, nn.Module]:
    """Build the official code's convolutional autoencoder: halving convolutions down to 4x4, and linear layers of 256.

    At 64 pixels the layers are the same as in the official code. Other sides have as many halvings as they need.
    """
    halvings = max(1, (side - 1).bit_length() - 2)
    padded = 4 * 2**halvings
    widths = ([32] * halvings + [64, 64])[-halvings:]
    encoder: list[nn.Module] = [PadTo(padded)]
    for before, after in zip([CHANNELS, *widths[:-1]], widths, strict=True):
        encoder += [nn.Conv2d(before, after, 4, 2, 1), nn.ReLU()]
    encoder += [nn.Flatten(), nn.Linear(widths[-1] * 16, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, latent)]

    decoder: list[nn.Module] = [nn.Linear(latent, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
    decoder += [nn.Linear(HIDDEN, widths[-1] * 16), nn.ReLU(), nn.Unflatten(1, (widths[-1], 4, 4))]
    backwards = widths[::-1]
    for before, after in zip(backwards, [*backwards[1:], CHANNELS], strict=True):
        decoder += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.ReLU()]
    decoder[-1] = CropTo(side)
    return nn.Sequential(*encoder), nn.Sequential(*decoder)


class UpBlock(nn.Module):
    """Double the side and apply one residual block, as the mirror of a strided ResNet-18 block."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(before, after, 1)
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )

    def forward(self, maps: Tensor) -> Tensor:
        maps = functional.interpolate(maps, scale_factor=2.0, mode="nearest")
        return functional.relu(self.skip(maps) + self.body(maps))


def _mirror_resnet18(side: int) -> list[nn.Module]:
    """Return layers that turn maps [N, 512, G, G] into images, as the mirror of ResNet-18."""
    return [
        UpBlock(512, 256),
        UpBlock(256, 128),
        UpBlock(128, 64),
        UpBlock(64, 64),
        nn.Upsample(scale_factor=2.0, mode="nearest"),
        nn.Conv2d(64, CHANNELS, 3, padding=1),
        CropTo(side),
    ]


def build_resnet18(side: int, latent: int) -> tuple[nn.Module, nn.Module]:
    """Build ResNet-18 as published, and its mirror (paper, section 5.2), for sides of 32 to 224 pixels."""
    padded = round_up(side, 32)
    grid = padded // 32
    encoder = nn.Sequential(PadTo(padded), resnet.build_resnet18(classes=latent))
    decoder = nn.Sequential(
        nn.Linear(latent, 512 * grid * grid), nn.Unflatten(1, (512, grid, grid)), *_mirror_resnet18(side)
    )
    return encoder, decoder


def build_resnet18_map(side: int, latent: int) -> tuple[nn.Module, nn.Module]:
    """Build ResNet-18 up to its last map, compressed to `latent` channels, and its mirror (paper, section 5.2, Cars).

    At 224 pixels and 512 channels, D = 7 x 7 x 512 = 25,088.
    """
    backbone = resnet.ResNet18()
    stride = backbone.strides[-1]
    padded = round_up(side, stride)
    stem, *layers = backbone.stages
    # the stem's layers are separate entries, because checkpoints name them so
    encoder = nn.Sequential(PadTo(padded), *stem.children(), *layers, nn.Conv2d(512, latent, 1), FlattenMap())
    decoder = nn.Sequential(UnflattenMap(padded // stride), nn.Conv2d(latent, 512, 1), *_mirror_resnet18(side))
    return encoder, decoder


ARCHITECTURES: dict[str, Callable[[int, int], tuple[nn.Module, nn.Module]]] = {
    "patch_conv": build_patch_conv,
    "simple_conv": build_simple_conv,
    "resnet18": build_resnet18,
    "resnet18_map": build_resnet18_map,
}


def initialize(module: nn.Module) -> None:
    """Set Kaiming-normal weights and zero biases in every convolution and linear layer."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                with torch.no_grad():
                    layer.bias.zero_()
