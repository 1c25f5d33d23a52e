import dataclasses
from functools import cache

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from detaux.backbones import build_backbone
from detaux.config.schema import MtiConfig, MultitaskConfig
from detaux.multitask.networks.hard_sharing import HardSharingNetwork
from detaux.multitask.networks.mti import MtiNetwork

CONFIG = MultitaskConfig(backbone="hrnet_w18_small_v2", dropout=0.0, head_hidden=16)
PLAIN = {"refine": False, "propagation": "none", "distillation": False, "deep_supervision": 0.0}


def build(classes=(2, 3), side=32, seed=0, **changes):
    torch.manual_seed(seed)
    return MtiNetwork(dataclasses.replace(CONFIG, mti=MtiConfig(**changes)), side, list(classes))


@cache  # for tests that only read
def build_whole():
    return build().eval()


def draw_images(side=32, count=2):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_without_its_parts_it_is_hard_sharing_bitwise():
    network = build(head="pooled", **PLAIN)
    torch.manual_seed(0)
    shared = HardSharingNetwork(CONFIG, 32, [2, 3])
    images, found = draw_images(count=4), []
    for each in (network, shared):
        logits = each(images)
        sum(task.square().sum() for task in logits).backward()
        found.append((*logits, *(parameter.grad for parameter in each.parameters())))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


def test_without_its_parts_its_heads_read_the_branches_enlarged_to_the_finest():
    network = build(**PLAIN).eval()
    images = draw_images()
    branches = list(network.backbone.iterate_maps(images))
    assert sum(1 for name, _ in network.named_parameters() if not name.startswith(("backbone.", "heads."))) == 0
    sized = [functional.interpolate(each, size=8, mode="bilinear", align_corners=False) for each in branches]
    for head, logits in zip(network.heads, network(images), strict=True):
        mixed = torch.relu(head.final.mix[1](head.final.mix[0](torch.cat(sized, 1))))
        assert mixed.shape == (2, 270, 8, 8)
        layer = head.final.classifier.linear
        torch.testing.assert_close(logits, mixed.mean((2, 3)) @ layer.weight.T + layer.bias)


def test_maps_of_all_parts_follow_from_each_other():
    """From the coarsest scale: refine the branch and what the coarser scale passed on, then pass on to the finer one."""
    network, images = build_whole(), draw_images()
    branches = list(network.backbone.iterate_maps(images))
    refined = network.refine(images)
    for task in range(2):
        torch.testing.assert_close(refined[3][task], network.refinements[3][task](branches[3]))
        for scale in (2, 1, 0):
            passed = network.propagations[scale](refined[scale + 1])[task]
            size = branches[scale].shape[2]
            passed = functional.interpolate(passed, size=size, mode="bilinear", align_corners=False)
            inputs = torch.cat([branches[scale], passed], 1)
            torch.testing.assert_close(refined[scale][task], network.refinements[scale][task](inputs))
    distilled = network.distill(refined)
    for scale, layer in enumerate(network.distillations):
        assert all(torch.equal(*pair) for pair in zip(distilled[scale], layer(refined[scale]), strict=True))
    for task, logits in enumerate(network(images)):
        assert torch.equal(logits, network.heads[task]([maps[task] for maps in distilled])[:, 0])


def test_initial_logits_are_those_of_the_mean_of_the_refined_maps():
    network, images = build_whole(), draw_images()
    refined = network.refine(images)
    for task, (final, *initial) in enumerate(network.predict(images)):
        assert torch.equal(final[:, 0], network(images)[task])
        for scale, logits in enumerate(initial):
            layer = network.heads[task].initial[scale].linear
            expected = refined[scale][task].mean((2, 3)) @ layer.weight.T + layer.bias
            torch.testing.assert_close(logits, expected[:, None])


def test_mean_of_dense_logits_equals_the_logits_of_the_mean():
    images = draw_images().double()
    dense, pooled = (build(loss=loss).double().eval() for loss in ("pixel", "pooled"))
    for maps, means in zip(dense.predict(images), pooled.predict(images), strict=True):
        assert [each.shape[1] for each in maps] == [64, 64, 16, 4, 1]
        for each, mean in zip(maps, means, strict=True):
            torch.testing.assert_close(each.mean(1, keepdim=True), mean)
    for ours, theirs in zip(dense(images), pooled(images), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("side", "classes"), [(32, [2]), (32, [2, 3]), (32, [2, 3, 4]), (64, [2, 3, 4]), (100, [2]), (224, [2, 3])]
)
def test_maps_and_logits_have_the_shapes_of_scales_and_tasks(side, classes):
    network = build(classes, side).eval()
    with torch.no_grad():
        images = draw_images(side, count=1)
        refined = network.refine(images)
        logits = network(images)
    assert [tuple(each.shape) for each in logits] == [(1, count) for count in classes]
    padded = -(-side // 32) * 32
    for scale, (maps, channels) in enumerate(zip(refined, (18, 36, 72, 144), strict=True)):
        size = padded // 2 ** (scale + 2)
        assert [tuple(each.shape) for each in maps] == [(1, channels, size, size)] * len(classes)


def test_network_of_one_task_has_nothing_that_needs_another():
    network = build([2])
    assert len(network.distillations) == 0
    assert all(layer.mask is None for layer in network.propagations)


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"distillation": False}, "distillations."),
        ({"propagation": "none"}, "propagations."),
        ({"deep_supervision": 0.0}, "heads.0.initial."),
        ({"refine": False}, "refinements.0.0.0.conv1"),
    ],
)
def test_part_that_is_off_has_no_weights_and_every_weight_has_a_gradient(changes, absent):
    whole = {name for name, _ in build_whole().named_parameters()}
    network = build(**changes)
    assert any(name.startswith(absent) for name in whole)
    assert not any(name.startswith(absent) for name, _ in network.named_parameters())
    sum(logits.sum() for task in network.predict(draw_images(count=3)) for logits in task).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_refinement_that_is_off_only_narrows_what_is_passed_on():
    network = build(refine=False)
    coarsest, *finer = (network.refinements[scale][0] for scale in (3, 2, 1, 0))
    assert isinstance(coarsest, torch.nn.Identity)
    assert [tuple(layer[0].weight.shape) for layer in finer] == [(72, 216, 1, 1), (36, 108, 1, 1), (18, 54, 1, 1)]


@pytest.mark.parametrize(
    ("propagation", "distillation", "reaches"),
    [("none", False, False), ("paper", False, True), ("none", True, True)],
)
def test_loss_of_a_task_reaches_the_layers_of_another_only_through_an_exchange(propagation, distillation, reaches):
    network = build(propagation=propagation, distillation=distillation)
    network(draw_images(count=3))[0].square().sum().backward()
    others = [parameter.grad for scale in network.refinements for parameter in scale[1].parameters()]
    assert any(grad is not None and grad.abs().max() > 0 for grad in others) == reaches
    assert all(parameter.grad is None for parameter in network.heads[1].parameters())
    own = [parameter for scale in network.refinements for parameter in scale[0].parameters()]
    assert all(parameter.grad is not None for parameter in own)


def test_official_propagation_gives_other_maps_of_the_same_weights():
    network, images = build(propagation="official").eval(), draw_images()
    network.load_state_dict(build_whole().state_dict())
    pairs = list(zip(network.refine(images), build_whole().refine(images), strict=True))
    assert all(torch.equal(*maps) for maps in zip(*pairs[3], strict=True))
    assert not any(torch.equal(*maps) for maps in zip(*pairs[2], strict=True))


@pytest.mark.slow  # timm takes seconds to build each of its larger networks
def test_backbone_and_its_published_weights_are_those_of_its_own_keys(tmp_path):
    torch.manual_seed(5)
    donor = build_backbone("hrnet_w18", 32)
    file = tmp_path / "weights.safetensors"
    save_file(donor.body.state_dict(), file)
    network = build(backbone="hrnet_w18", pretrained=str(file), **PLAIN)
    for name, value in donor.body.state_dict().items():
        assert torch.equal(network.backbone.body.state_dict()[name], value)
    assert network.backbone.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
