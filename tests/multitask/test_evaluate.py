import pytest
import torch
from torch import nn

from detaux.config.schema import MultitaskConfig
from detaux.multitask.evaluate import MOST_IMAGES, count_answers, describe_task, evaluate, thin_out
from detaux.multitask.networks.hard_sharing import HardSharingNetwork


def build_network():
    torch.manual_seed(0)
    return HardSharingNetwork(MultitaskConfig(head_hidden=8), 16, [3, 4])


def draw_images(count):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 16, 16, 3), generator=generator).to(torch.uint8)
    return images, torch.randint(3, (count,), generator=generator)


@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_answers_on_the_diagonal_are_the_accuracy(noise):
    network, (images, targets) = build_network(), draw_images(600)  # more than a batch
    counts = count_answers(network, 0, 3, images, targets, noise)
    assert counts.sum(1).tolist() == [int((targets == label).sum()) for label in range(3)]
    assert counts.diagonal().sum() / 600 == pytest.approx(evaluate(network, images, targets, noise)["accuracy"])


def test_answers_are_those_of_the_task():
    network, (images, targets) = build_network(), draw_images(8)
    last = network.heads[1][3]
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 0.0]))  # always answers 2
    counts = count_answers(network, 1, 4, images, targets, 0.0)
    assert counts[:, 2].tolist() == [int((targets == label).sum()) for label in range(4)]
    assert counts.sum() == 8


def test_task_line_has_the_interval_over_seeds_and_the_sum_of_counts():
    seeds = [torch.tensor([[3, 1], [0, 4]]), torch.tensor([[2, 2], [1, 3]])]  # accuracies 7/8 and 5/8
    line = describe_task("principal", "test", ["a", "b"], seeds)
    assert line["accuracy_mean"] == pytest.approx(0.75)
    # t quantile of one degree of freedom 12.7062, standard error 1/8
    assert line["accuracy_high"] - line["accuracy_mean"] == pytest.approx(12.7062 / 8, rel=1e-4)
    assert line["counts"] == [[5, 3], [1, 7]]
    assert (line["images"], line["seeds"], line["classes"]) == (8, 2, ["a", "b"])


def test_thinned_images_are_spread_over_all():
    values = torch.arange(5 * MOST_IMAGES // 2)
    images, targets = thin_out(values, values)
    assert torch.equal(images, targets)
    assert (images[0], images[-1], len(set(images.diff().tolist()))) == (0, values[-1] - 1, 1)
    assert MOST_IMAGES / 2 < len(images) <= MOST_IMAGES
    assert len(thin_out(values[:7], values[:7])[0]) == 7
