import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from detaux.backbones import build_backbone
from detaux.config.schema import MultitaskConfig, NddrConfig
from detaux.errors import UserError
from detaux.multitask.networks.nddr import Fusion, NddrNetwork

CONFIG = MultitaskConfig(dropout=0.0, head_hidden=16)


def build(classes=(2, 3), alpha=0.9, seed=0, **changes):
    torch.manual_seed(seed)
    return NddrNetwork(dataclasses.replace(CONFIG, nddr=NddrConfig(alpha=alpha), **changes), 16, list(classes))


def draw_images(count=6, side=16):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def get_blocks(fusion, tasks):
    """The weights of a fusion as [t, u, C, C]."""
    weight = fusion.convolution.weight.detach().squeeze()
    return weight.unflatten(1, (tasks, -1)).unflatten(0, (tasks, -1)).transpose(1, 2)


def test_fusion_equals_its_equation_in_loops():
    tasks, channels, count, side = 3, 2, 4, 3
    torch.manual_seed(0)
    fusion = Fusion(tasks, channels, 0.9).double()
    for parameter in fusion.parameters():
        nn.init.normal_(parameter)
    maps = list(torch.randn(tasks, count, channels, side, side, dtype=torch.float64))
    found = torch.stack(fusion(maps)).detach()
    weight, norm = get_blocks(fusion, tasks), fusion.normalization.requires_grad_(False)
    places = [(b, i, j) for b in range(count) for i in range(side) for j in range(side)]
    for t in range(tasks):
        for c in range(channels):
            mixed = [
                sum(weight[t, u, c, d] * maps[u][b, d, i, j] for u in range(tasks) for d in range(channels))
                for b, i, j in places
            ]
            mean = sum(mixed) / len(mixed)
            std = (sum((value - mean) ** 2 for value in mixed) / len(mixed) + 1e-5) ** 0.5
            gamma, bias = norm.weight[t * channels + c], norm.bias[t * channels + c]
            for (b, i, j), value in zip(places, mixed, strict=True):
                expected = max(0.0, float(gamma * (value - mean) / std + bias))
                assert float(found[t, b, c, i, j]) == pytest.approx(expected, abs=1e-10)
            assert float(norm.running_mean[t * channels + c]) == pytest.approx(0.05 * float(mean))


@pytest.mark.parametrize(("tasks", "others"), [(1, 0.0), (2, 0.3), (3, 0.15)])
def test_fusion_starts_with_alpha_on_its_own_block_and_shares_the_rest(tasks, others):
    fusion = Fusion(tasks, 4, 0.7)
    for t, row in enumerate(get_blocks(fusion, tasks)):
        for u, block in enumerate(row):
            torch.testing.assert_close(block, (0.7 if t == u else others) * torch.eye(4))
    assert fusion.convolution.bias is None
    assert torch.equal(fusion.normalization.weight, torch.ones(4 * tasks))
    assert torch.equal(fusion.normalization.bias, torch.zeros(4 * tasks))


def test_unmixed_branches_are_independent_at_the_start_of_evaluation():
    network, images = build(alpha=1.0).eval(), draw_images()
    expected = [head(branch(images)) for head, branch in zip(network.heads, network.branches, strict=True)]
    for one, two in zip(network(images), expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)  # they differ by the eps of batch normalisation
    for fusion in network.fusions:
        fusion.normalization.eps = 0.0
    for one, two in zip(network(images), expected, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-7)


def test_unmixed_branches_in_training_are_networks_with_normalisation_after_each_stage():
    network, images = build(alpha=1.0), draw_images()
    for logits, head, branch in zip(network(images), network.heads, network.branches, strict=True):
        maps = images
        for stage, channels in zip(branch.stages, branch.channels, strict=True):
            maps = nn.Sequential(stage, nn.BatchNorm2d(channels), nn.ReLU())(maps)
        torch.testing.assert_close(logits, head(branch.pool(maps)))


@pytest.mark.parametrize("classes", [(2, 3), (2, 3, 4)])
def test_loss_of_a_task_reaches_another_branch_only_through_the_mixture(classes):
    network = build(classes, alpha=1.0)
    network(draw_images())[0].square().sum().backward()
    assert all(parameter.grad.count_nonzero() == 0 for parameter in network.branches[1].parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.branches[0].parameters())
    for fusion in network.fusions:
        gradient, channels = fusion.convolution.weight.grad, fusion.convolution.out_channels // len(classes)
        assert gradient[:channels, channels:].abs().sum() > 0  # so the equality holds only before the first step
        assert gradient[channels:].count_nonzero() == 0
    mixed = build(classes)
    mixed(draw_images())[0].square().sum().backward()
    for branch in mixed.branches:
        assert all(parameter.grad.abs().sum() > 0 for parameter in branch.parameters())
    assert all(parameter.grad is None for parameter in mixed.heads[1].parameters())


def test_even_mixture_of_identical_branches_is_the_map_of_one():
    network, images = build(alpha=0.5), draw_images()
    first, second = network.branches
    second.load_state_dict(first.state_dict())
    expected = next(first.iterate_maps(images))
    seen = []
    network.fusions[0].convolution.register_forward_hook(lambda *given: seen.append(given[-1]))
    network(images)
    for part in seen[0].chunk(2, dim=1):
        torch.testing.assert_close(part, expected)


@pytest.mark.parametrize("classes", [(2,), (2, 3), (2, 3, 4)])
def test_parameters_are_those_of_the_branches_the_heads_and_the_formula(classes):
    network, tasks = build(classes), len(classes)
    backbone = build_backbone("small_cnn", 16)
    branch = sum(parameter.numel() for parameter in backbone.parameters())
    heads = sum(128 * 16 + 16 + 16 * count + count for count in classes)
    fusions = sum(tasks * (tasks * channels**2 + 2 * channels) for channels in backbone.channels)
    assert sum(parameter.numel() for parameter in network.parameters()) == tasks * branch + heads + fusions


def test_swapped_tasks_swap_the_logits():
    network, images = build((2, 3)), draw_images()
    for parameter in network.fusions.parameters():
        nn.init.normal_(parameter, mean=0.1)
    swapped = build((3, 2), seed=1)
    for one, two in ((0, 1), (1, 0)):
        swapped.branches[one].load_state_dict(network.branches[two].state_dict())
        swapped.heads[one].load_state_dict(network.heads[two].state_dict())
    for ours, theirs in zip(swapped.fusions, network.fusions, strict=True):
        state = theirs.state_dict()
        for name, value in state.items():
            if value.dim():
                rolled = value.roll(len(value) // 2, 0)
                state[name] = rolled.roll(value.shape[1] // 2, 1) if value.dim() == 4 else rolled
        ours.load_state_dict(state)
    first, second = network(images)
    for one, two in zip(swapped(images), (second, first), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("classes", [(2,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize(
    ("backbone", "side"), [("small_cnn", 16), ("small_cnn", 28), ("vgg16_bn", 32), ("resnet18", 32), ("resnet18", 224)]
)
def test_logits_have_the_classes_of_each_task(backbone, side, classes):
    with torch.device("meta"):  # shapes without values
        network = NddrNetwork(dataclasses.replace(CONFIG, backbone=backbone), side, list(classes))
        logits = network(torch.empty(5, 3, side, side))
    assert [each.shape for each in logits] == [(5, count) for count in classes]


def test_branches_start_apart_unless_a_file_gives_their_weights(tmp_path):
    file = tmp_path / "own.safetensors"
    save_file(build_backbone("small_cnn", 16).body.state_dict(), file)
    for first, second in zip(*(branch.state_dict().values() for branch in build().branches), strict=True):
        assert first.dim() == 1 or not torch.equal(first, second)
    donor = build_backbone("small_cnn", 16)
    save_file(donor.body.state_dict(), file)
    for branch in build(pretrained=str(file)).branches:
        for name, value in donor.body.state_dict().items():
            assert torch.equal(branch.body.state_dict()[name], value)


def test_pretrained_branches_normalise_images(tmp_path):
    file, images = tmp_path / "weights.safetensors", draw_images(2, 32)
    save_file(build_backbone("resnet18", 32).body.state_dict(), file)
    network = build(backbone="resnet18", pretrained=str(file), alpha=1.0).eval()
    expected = [head(branch(images)) for head, branch in zip(network.heads, network.branches, strict=True)]
    for one, two in zip(network(images), expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


def test_backbone_without_stages_is_refused():
    with pytest.raises(UserError, match="multitask.backbone=hrnet_w18_small_v2 has no stages"):
        NddrNetwork(MultitaskConfig(backbone="hrnet_w18_small_v2"), 32, [2, 3])
