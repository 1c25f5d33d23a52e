import pytest
import torch
from torch.nn import functional

from detaux.multitask.networks.mti_parts import Distillation, Propagation, compute_mask, resize


def draw_maps(tasks, channels, side=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, channels, side, side, generator=generator, dtype=torch.float64) for _ in range(tasks)]


@pytest.mark.parametrize("tasks", [1, 2, 3])
def test_mask_sums_to_one_over_the_tasks_at_every_channel_and_position(tasks):
    mask = compute_mask(5 * torch.cat(draw_maps(tasks, 4), 1), tasks, "paper")
    for channel in range(4):
        total = sum(mask[:, task * 4 + channel] for task in range(tasks))
        torch.testing.assert_close(total, torch.ones_like(total))


def test_permuted_tasks_permute_the_mask():
    maps, order = draw_maps(3, 4), [2, 0, 1]
    mask = compute_mask(torch.cat(maps, 1), 3, "paper").chunk(3, 1)
    permuted = compute_mask(torch.cat([maps[task] for task in order], 1), 3, "paper")
    torch.testing.assert_close(permuted, torch.cat([mask[task] for task in order], 1))


def test_official_mask_sums_to_one_over_adjacent_channels_of_one_task():
    mask = compute_mask(torch.cat(draw_maps(2, 4), 1), 2, "official")
    for first in range(0, 8, 2):
        torch.testing.assert_close(mask[:, first] + mask[:, first + 1], torch.ones(2, 3, 3, dtype=torch.float64))
    assert not torch.allclose(mask[:, 0] + mask[:, 4], torch.ones(2, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize("form", ["paper", "official"])
def test_propagation_equals_its_equation(form):
    tasks, channels = 2, 32
    torch.manual_seed(0)
    layer = Propagation(tasks, channels, form).double().eval()
    maps = draw_maps(tasks, channels)
    joined = torch.cat(maps, 1)
    values = layer.mask(joined).exp()
    mask = torch.empty_like(values)
    for place in range(tasks * channels):
        if form == "paper":
            group = [place % channels + task * channels for task in range(tasks)]
        else:
            group = [place // tasks * tasks + other for other in range(tasks)]
        mask[:, place] = values[:, place] / sum(values[:, other] for other in group)
    shared = layer.shared(mask * joined)
    for gate, found, own in zip(layer.gates, layer(maps), maps, strict=True):
        mean = shared.mean((2, 3))
        first = torch.relu(mean @ gate.fc1.weight[:, :, 0, 0].T + gate.fc1.bias)
        assert first.shape == (2, channels // 16)
        second = torch.sigmoid(first @ gate.fc2.weight[:, :, 0, 0].T + gate.fc2.bias)
        torch.testing.assert_close(found, shared * second[:, :, None, None] + own)


def test_propagation_of_one_task_has_no_mask():
    layer = Propagation(1, 32, "paper").double().eval()
    (own,) = draw_maps(1, 32)
    assert layer.mask is None
    shared = layer.shared(own)
    torch.testing.assert_close(layer([own])[0], layer.gates[0](shared) + own)


def test_mask_network_has_a_quarter_of_the_width_rounded_down():
    layer = Propagation(3, 18, "paper")  # 54 channels
    assert [tuple(block.conv1.weight.shape[:2]) for block in layer.mask[:2]] == [(13, 54), (13, 13)]
    assert tuple(layer.mask[2].weight.shape) == (54, 13, 1, 1)


def split_kernels(layer, channels):
    """G and E of each ordered pair (target, source) as views of the weights of the sources."""
    kernels = {}
    for source, convolution in enumerate(layer.sources):
        targets = [task for task in range(len(layer.sources)) if task != source]
        for target, pair in zip(targets, convolution.weight.split(2 * channels), strict=True):
            kernels[target, source] = pair.split(channels)
    return kernels


@pytest.mark.parametrize("tasks", [2, 3])
def test_distillation_equals_its_equation(tasks):
    torch.manual_seed(0)
    layer, maps = Distillation(tasks, 4).double(), draw_maps(tasks, 4)
    kernels = split_kernels(layer, 4)
    assert len(kernels) == tasks * (tasks - 1)
    for target, found in enumerate(layer(maps)):
        expected = maps[target].clone()
        for source in range(tasks):
            if source != target:
                gate, message = (
                    functional.conv2d(maps[source], kernel, padding=1) for kernel in kernels[target, source]
                )
                expected += torch.sigmoid(gate) * message
        torch.testing.assert_close(found, expected)


def test_without_messages_maps_are_unchanged_and_without_gates_half_a_message_is_added():
    layer, maps = Distillation(2, 4).double(), draw_maps(2, 4)
    with torch.no_grad():
        for gate, _ in split_kernels(layer, 4).values():
            gate.zero_()
    _, message = split_kernels(layer, 4)[0, 1]
    torch.testing.assert_close(layer(maps)[0], maps[0] + functional.conv2d(maps[1], message, padding=1) / 2)
    with torch.no_grad():
        for _, message in split_kernels(layer, 4).values():
            message.zero_()
    assert all(torch.equal(found, own) for found, own in zip(layer(maps), maps, strict=True))


def test_resized_maps_are_interpolated_between_the_centres_of_cells():
    maps = torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]])
    line = torch.tensor([0.0, 1.0, 3.0, 4.0])
    torch.testing.assert_close(resize(maps, 4)[0, 0], line[None, :] + 2 * line[:, None])
    assert resize(maps, 7).shape == (1, 1, 7, 7)
