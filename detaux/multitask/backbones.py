"""Shared feature extractors: images [B, 3, S, S] in [0, 1] to features [B, F]."""

from collections.abc import Callable

import torch
from torch import nn

from detaux.config.location import expand_path
from detaux.config.schema import VGG_MIN_SIDE
from detaux.errors import UserError
from detaux.runtime.readers import read_safetensors


class Backbone(nn.Module):
    """A feature extractor and its number of features."""

    def __init__(self, body: nn.Module, side: int) -> None:
        super().__init__()
        self.body = body
        with torch.no_grad():
            self.features = int(body.eval()(torch.zeros(1, 3, side, side)).shape[1])
        body.train()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.body(images)


def build_small_cnn(side: int) -> nn.Module:
    """Four strided convolutions with group normalisation and a global mean: quick on a CPU, for 16 to 64 pixels."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 96), (96, 128)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _build_vgg(side: int, name: str) -> nn.Module:
    import torchvision

    if side < VGG_MIN_SIDE:
        raise UserError(f"multitask.backbone={name} needs data.side of at least {VGG_MIN_SIDE}; it is {side}.")
    return nn.Sequential(getattr(torchvision.models, name)(weights=None).features, nn.Flatten())


def build_vgg16(side: int) -> nn.Module:
    """VGG16's convolutions as published, flattened: 2,048 features at 64 pixels, 25,088 at 224."""
    return _build_vgg(side, "vgg16")


def build_vgg16_bn(side: int) -> nn.Module:
    """VGG16 with batch normalisation."""
    return _build_vgg(side, "vgg16_bn")


def build_resnet18(side: int) -> nn.Module:
    """ResNet-18 as published, without its classifier: 512 features."""
    import torchvision

    body = torchvision.models.resnet18(weights=None)
    body.fc = nn.Identity()
    return body


BACKBONES: dict[str, Callable[[int], nn.Module]] = {
    "small_cnn": build_small_cnn,
    "vgg16": build_vgg16,
    "vgg16_bn": build_vgg16_bn,
    "resnet18": build_resnet18,
}


def build_backbone(name: str, side: int, pretrained: str | None) -> Backbone:
    """The backbone `name` for images of `side` pixels, its weights from a safetensors file where one is given.

    Raises UserError where the file is missing or its tensors do not fit.
    """
    backbone = Backbone(BACKBONES[name](side), side)
    if pretrained:
        path = expand_path(pretrained, "multitask.pretrained")
        if not path.is_file():
            raise UserError(f"multitask.pretrained={path} does not exist; give a safetensors file of {name}'s weights.")
        weights = read_safetensors(path, f"give multitask.pretrained a safetensors file of {name}'s weights")
        try:
            backbone.body.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                f"multitask.pretrained={path} does not fit {name}: {' '.join(str(error).split())}."
            ) from None
    return backbone
