from functools import cache

import pytest
import torch
from torch import nn

from detaux.backbones import BACKBONES, build_backbone

# HRNet is no backbone of stages; test_hrnet.py has its tests
SIDES = {
    "small_cnn": (16, 28, 64),
    "vgg16": (32, 64),
    "vgg16_bn": (32,),
    "resnet18": (32, 64),
    "efficientnet_lite0": (28, 64),
}
CASES = [(name, side) for name in BACKBONES if not name.startswith("hrnet") for side in SIDES[name]]


def draw_images(side, count=2):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@cache
def build(name, side):
    """A backbone of small random weights. torchvision takes seconds to draw those of VGG16 and its classifier."""
    with torch.device("meta"):
        backbone = build_backbone(name, side)
    backbone.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for value in backbone.state_dict().values():
        if value.is_floating_point():
            value.uniform_(-0.05, 0.05, generator=generator).add_(value.dim() == 1)
    return backbone.eval()


@pytest.mark.parametrize(("name", "side"), CASES)
def test_stages_have_the_stated_channels_and_strides(name, side):
    backbone = build(name, side)
    maps = list(backbone.iterate_maps(draw_images(side)))
    assert len(maps) == len(backbone.stages) == len(backbone.channels) == len(backbone.strides)
    for each, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
        # VGG's poolings round down, padded convolutions up
        expected = side // stride if name.startswith("vgg") else -(-side // stride)
        assert each.shape == (2, channels, expected, expected)


@pytest.mark.parametrize(("name", "side"), CASES)
def test_features_are_what_the_whole_body_gives(name, side):
    backbone = build(name, side)
    images = draw_images(side)
    with torch.no_grad():
        assert torch.equal(backbone(images), backbone.body(images))
    assert backbone(images).shape == (2, backbone.features)


@pytest.mark.parametrize(("name", "side"), CASES)
def test_stages_hold_every_weight_once(name, side):
    backbone = build(name, side)
    inside = [parameter for stage in backbone.stages for parameter in stage.parameters()]
    if name == "efficientnet_lite0":  # its pooling has a layer
        inside += [*backbone.body.conv_head.parameters(), *backbone.body.bn2.parameters()]
    assert {id(parameter) for parameter in inside} == {id(parameter) for parameter in backbone.parameters()}
    assert len(inside) == len(list(backbone.parameters()))


def test_layers_that_are_replaced_after_a_pass_are_those_of_the_stages():
    """Engines of several ranks replace batch normalisation by a layer that shares its statistics."""
    backbone = build_backbone("resnet18", 32).eval()
    backbone(torch.zeros(1, 3, 32, 32))
    nn.SyncBatchNorm.convert_sync_batchnorm(backbone)
    layers = [layer for stage in backbone.stages for layer in stage.modules()]
    assert any(isinstance(layer, nn.SyncBatchNorm) for layer in layers)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in layers)
