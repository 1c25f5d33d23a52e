import sys
from functools import cache

import pytest
import timm
import torch
from torch import nn

from detaux.backbones import build_backbone
from detaux.backbones.backbone import IMAGENET
from detaux.config.schema import MultitaskConfig
from detaux.errors import UserError
from detaux.multitask.networks.hard_sharing import HardSharingNetwork


def draw_images(side, count=2):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@cache
def build(name, side):
    return build_backbone(name, side).eval()


@pytest.mark.parametrize(("name", "parameters"), [("hrnet_w18_small_v2", 3_860_720), ("hrnet_w18", 9_562_260)])
def test_backbone_has_the_published_branches_and_no_classifier(name, parameters):
    backbone = build(name, 32)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == parameters
    assert tuple(backbone.body.feature_info.channels()) == backbone.channels
    assert tuple(backbone.body.feature_info.reduction()) == backbone.strides


@pytest.mark.parametrize(("side", "padded"), [(28, 32), (32, 32), (33, 64), (100, 128), (224, 224)])
def test_branches_have_the_stated_channels_and_sides(side, padded):
    backbone = build("hrnet_w18_small_v2", side)
    with torch.no_grad():
        maps = list(backbone.iterate_maps(draw_images(side, count=1)))
    assert [each.shape[2] for each in maps] == backbone.sides == [padded // stride for stride in (4, 8, 16, 32)]
    for each, channels, size in zip(maps, backbone.channels, backbone.sides, strict=True):
        assert each.shape == (1, channels, size, size)


def test_features_are_the_means_of_the_branches_of_timms_network():
    torch.manual_seed(0)
    donor = timm.create_model("hrnet_w18_small_v2", num_classes=10).eval()
    backbone = build_backbone("hrnet_w18_small_v2", 32).eval()
    weights = donor.state_dict()  # taken once: it walks through all layers
    backbone.body.load_state_dict({name: weights[name] for name in backbone.body.state_dict()})
    images = draw_images(32)
    with torch.no_grad():
        branches = donor.stages(donor.act2(donor.bn2(donor.conv2(donor.act1(donor.bn1(donor.conv1(images)))))))
        features = backbone(images)
    assert features.shape == (2, backbone.features) == (2, 270)
    expected = [branch.double().flatten(2).sum(2) / branch[0, 0].numel() for branch in branches]
    torch.testing.assert_close(features, torch.cat(expected, 1).float())


def test_side_that_does_not_fit_is_padded_after_normalisation():
    images = draw_images(28)
    backbone = build_backbone("hrnet_w18_small_v2", 28).eval()
    backbone.normalize_by(IMAGENET)
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET.mean, IMAGENET.std))
    padded = torch.zeros(2, 3, 32, 32)
    padded[..., :28, :28] = (images - mean) / std
    with torch.no_grad():
        for ours, expected in zip(backbone.iterate_maps(images), backbone.body(padded), strict=True):
            assert torch.equal(ours, expected)


def test_layers_that_are_replaced_after_a_pass_are_used():
    """Engines of several ranks replace batch normalisation by a layer that shares its statistics."""
    backbone = build_backbone("hrnet_w18_small_v2", 32).eval()
    before = backbone(draw_images(32))
    for module in list(backbone.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    assert not torch.equal(backbone(draw_images(32)), before)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in backbone.modules())


def test_every_weight_reaches_the_features():
    """DistributedDataParallel waits for the gradient of every weight."""
    backbone = build_backbone("hrnet_w18_small_v2", 32)
    backbone(draw_images(32)).sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_hard_sharing_takes_it_with_a_head_for_each_task():
    network = HardSharingNetwork(MultitaskConfig(backbone="hrnet_w18_small_v2"), 28, [2, 3])
    assert [tuple(logits.shape) for logits in network(draw_images(28))] == [(2, 2), (2, 3)]


def test_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(
        UserError, match=r"backbone hrnet_w18 needs the Python package timm; run `pip install 'detaux\[timm\]'`"
    ):
        build_backbone("hrnet_w18", 32)
