import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from detaux.config.schema import EngineConfig, MtiConfig, MultitaskConfig
from detaux.multitask.batches import TaskBatch, TrainingData
from detaux.multitask.fit import train_trial
from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import TaskSpec
from detaux.multitask.trial import Trial

PROGRAM = Path(__file__).with_name("rank_mti.py")
CONFIG = MultitaskConfig(dropout=0.0, head_hidden=16)


def build(name="mti", weight=0.5, **changes):
    torch.manual_seed(0)
    spec = TaskSpec(dataclasses.replace(CONFIG, mti=MtiConfig(**changes)), 32, [2, 3], weight)
    return build_method(name, spec).eval()


def draw_batches():
    images = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return [
        TaskBatch(images[0], {0: torch.tensor([0, 1, 1])}, 4.0),
        TaskBatch(images[1], {1: torch.tensor([2, 0, 1])}, 4.0),
    ]


def lose(logits, label):
    """Minus the log probability of a label."""
    return math.log(sum(math.exp(value) for value in logits)) - logits[label]


@pytest.mark.parametrize(("loss", "factor"), [("pooled", 0.0), ("pooled", 0.4), ("pixel", 1.0)])
def test_loss_of_a_task_is_the_final_one_and_the_weighted_one_of_each_scale(loss, factor):
    method, batches = build(loss=loss, deep_supervision=factor), draw_batches()
    with torch.no_grad():
        found = method.compute_losses(batches)
        for task, batch in enumerate(batches):
            parts = method.network.predict(batch.images)[task]
            assert len(parts) == (5 if factor else 1)
            expected = 0.0
            for place, logits in enumerate(parts):
                positions = logits.shape[1]
                for row, label in zip(logits.tolist(), batch.labels[task].tolist(), strict=True):
                    mean = sum(lose(each, label) for each in row) / positions
                    expected += (factor if place else 1.0) * mean / 4.0
            assert found[task].item() == pytest.approx(expected, rel=1e-5)


def test_mean_loss_over_positions_is_at_least_that_of_the_mean_logits():
    """Cross-entropy is convex in the logits, so the two losses are not the same."""
    with torch.no_grad():
        pixel, pooled = (build(loss=loss).compute_losses(draw_batches()) for loss in ("pixel", "pooled"))
    assert all(one > other for one, other in zip(pixel, pooled, strict=True))


def test_loss_of_mixed_labels_is_the_mixture_of_the_losses_of_both():
    method = build(loss="pixel")
    with torch.no_grad():
        predicted = method.predict(draw_batches()[0].images)[0]
        first, second = torch.tensor([0, 1, 1]), torch.tensor([1, 1, 0])
        mixed = 0.3 * functional.one_hot(first) + 0.7 * functional.one_hot(second)
        expected = 0.3 * method.sum_losses(predicted, first) + 0.7 * method.sum_losses(predicted, second)
        torch.testing.assert_close(method.sum_losses(predicted, mixed), expected)


def test_it_takes_a_rule_for_the_task_losses():
    method = build("mti+uncertainty", weight=0.7)
    with torch.no_grad():
        losses = method.compute_losses(draw_batches())
        torch.testing.assert_close(method.compute_loss(draw_batches()), losses[0] + 0.7 * losses[1])
        method.weighting.log_variance.fill_(1.0)
        expected = math.exp(-1) * (losses[0] + 0.7 * losses[1]) + 0.5 * 1.7
        torch.testing.assert_close(method.compute_loss(draw_batches()), expected)


def build_data(seed, count=64):
    """Images with one of two principal classes, bright above or below, and one of three colours as the hidden class."""
    generator = torch.Generator().manual_seed(seed)
    principal, auxiliary = (torch.randint(most, (count,), generator=generator) for most in (2, 3))
    images = torch.randint(0, 120, (count, 32, 32, 3), generator=generator)
    for image, half, colour in zip(images, principal.tolist(), auxiliary.tolist(), strict=True):
        image[16 * half : 16 * half + 16] += 60
        image[..., colour] += 60
    return TrainingData(images.to(torch.uint8), principal, auxiliary, [2, 3], noise=0.0)


def test_it_fits_a_few_images_in_ten_steps():
    """The slow test below measures images that it has not seen."""
    torch.manual_seed(0)
    method = build_method("mti", TaskSpec(dataclasses.replace(CONFIG, lr=3e-3), 32, [2, 3], 1.0))
    data = build_data(0, count=6)
    batches = [TaskBatch(data.images.permute(0, 3, 1, 2) / 255, {0: data.principal, 1: data.auxiliary}, 6.0)]
    (player,) = method.list_players()
    player.start(EngineConfig(), torch.device("cpu"), lambda step: 1.0)
    losses = [player.descend(batches).item() for _ in range(10)]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns_both_tasks_in_eighty_steps(seed):
    config = dataclasses.replace(CONFIG, epochs=10, batch_size=8)
    data, held_out = build_data(seed), build_data(seed + 100)
    trial = Trial("mti", "discovered", 1.0, seed)
    network, best, _ = train_trial(trial, config, data, (held_out.images, held_out.principal))
    assert best["accuracy"] >= 0.9
    with torch.no_grad():
        answers = network.eval()(held_out.images.permute(0, 3, 1, 2) / 255)[1].argmax(1)
    assert (answers == held_out.auxiliary).float().mean() >= 0.7


def test_two_ranks_step_as_one(start_ranks):
    """Batch normalisation is over the images of all ranks, and parts of a batch may differ in size."""
    found = []
    for count in (1, 2):
        ranks = start_ranks(count, PROGRAM)
        outputs = [rank.communicate(timeout=180)[0] for rank in ranks]
        assert [rank.returncode for rank in ranks] == [0] * count, outputs
        found.append(json.loads(outputs[0].splitlines()[-1]))
    one, two = found
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-8)
    assert two["moved"] == pytest.approx(one["moved"], rel=1e-6)
    assert one["losses"][1] != pytest.approx(one["losses"][0], rel=1e-3)
