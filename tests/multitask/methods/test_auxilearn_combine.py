import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from detaux.config.schema import AuxilearnConfig, MultitaskConfig
from detaux.multitask.batches import TaskBatch
from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import TaskSpec

SETTINGS = AuxilearnConfig(combination="linear", held_out=0.25, every=1, neumann_lr=0.1)
AUXILIARY = torch.arange(24) % 3


def start(start_method, auxiliary=AUXILIARY, **changes):
    return start_method("auxilearn_combine", [2, 3 if auxiliary is not None else 4], auxiliary=auxiliary, **changes)


def unlabel(started):
    """Take the principal labels of the last eight images away."""
    principal = torch.where(torch.arange(24) < 16, started.data.principal, -1)
    started.data = dataclasses.replace(started.data, principal=principal)


def test_loss_is_the_combination_of_cross_entropies(start_method):
    started = start(start_method, dropout=0.0, weight=0.7, auxilearn=SETTINGS)
    method, (batch, _) = started.method, started.draw()
    with torch.no_grad():
        method.combination.factors.copy_(torch.tensor([0.5, 2.0]))
        principal, auxiliary = method.network(batch.images)
        rest = TaskBatch(batch.images[:3], {1: batch.labels[1][:3]}, 4.0)  # its share of eight images on two ranks
        expected = 1.5 * functional.cross_entropy(principal, batch.labels[0])
        expected += 2.0 * 0.7 * functional.cross_entropy(auxiliary, batch.labels[1])
        torch.testing.assert_close(method.compute_loss([batch]), expected)
        expected += 2.0 * 0.7 * functional.cross_entropy(auxiliary[:3], batch.labels[1][:3], reduction="sum") / 4
        torch.testing.assert_close(method.compute_loss([batch, rest]), expected)


def test_combination_is_of_the_losses_of_each_image(start_method):
    """A nonlinear function of the mean losses would be another number."""
    started = start(start_method, dropout=0.0, auxilearn=dataclasses.replace(SETTINGS, combination="nonlinear"))
    method, (batch, _) = started.method, started.draw()
    with torch.no_grad():
        method.network.heads[1][3].weight *= 20
        both = method.network(batch.images)
        total = 0.0
        for row in range(8):
            losses = [
                factor * functional.cross_entropy(logits[row : row + 1], batch.labels[task][row : row + 1])
                for task, (factor, logits) in enumerate(zip((1.0, 0.5), both, strict=True))
            ]
            total += method.combination(torch.stack(losses)[None]).item() / 8
        assert method.compute_loss([batch]).item() == pytest.approx(total, rel=1e-9)
        means = torch.stack([functional.cross_entropy(logits, batch.labels[task]) for task, logits in enumerate(both)])
        assert method.combination(means[None] * torch.tensor([1.0, 0.5])).item() != pytest.approx(total, rel=1e-3)


def test_labelled_images_carry_all_losses_and_the_others_the_auxiliary_ones(start_method):
    started = start(start_method, auxilearn=SETTINGS)
    unlabel(started)
    training, rest, held_out = started.method.list_streams(started.data)
    assert [stream.tasks for stream in (training, rest, held_out)] == [(0, 1), (1,), (0,)]
    assert sorted([*training.indices.tolist(), *held_out.indices.tolist()]) == list(range(16))
    assert rest.indices.tolist() == list(range(16, 24))


def test_only_labelled_images_train_if_the_config_says_so(start_method):
    started = start(start_method, auxilearn=SETTINGS, auxiliary_on="labelled")
    unlabel(started)
    assert [stream.tasks for stream in started.method.list_streams(started.data)] == [(0, 1), (0,)]


@pytest.mark.parametrize("auxiliary_on", ["all", "labelled"])
def test_turned_images_have_a_stream_of_their_own_without_the_held_out_ones(start_method, auxiliary_on):
    started = start(start_method, auxiliary=None, auxilearn=SETTINGS, auxiliary_on=auxiliary_on)
    unlabel(started)
    streams = started.method.list_streams(started.data)
    assert [stream.tasks for stream in streams] == [(0,), (1,), (0,)]
    labelled, turned, held_out = (set(stream.indices.tolist()) for stream in streams)
    assert labelled | held_out == set(range(16))
    assert turned == (labelled | set(range(16, 24)) if auxiliary_on == "all" else labelled)
    assert torch.isfinite(started.method.step(started.players, started.streams))


def test_single_task_has_one_stream_besides_the_held_out_one(start_method):
    started = start_method("auxilearn_combine", [2], auxilearn=SETTINGS)
    assert [stream.tasks for stream in started.method.list_streams(started.data)] == [(0,), (0,)]
    assert torch.isfinite(started.method.step(started.players, started.streams))


def test_weights_of_helpful_and_useless_labels_part(start_method):
    """The auxiliary labels are the class in one run, so that their loss has the gradient of the principal one, and random in
    another."""
    factors = []
    generator = torch.Generator().manual_seed(0)
    for labels in (torch.arange(24) % 2, torch.randint(2, (24,), generator=generator)):
        settings = dataclasses.replace(SETTINGS, lr_factor=4.0, neumann_terms=0)
        started = start(start_method, auxiliary=labels, dropout=0.0, auxilearn=settings, total=1000, lr=5e-3)
        streams = started.streams
        for _ in range(25):
            started.method.step(started.players, streams)
        factors.append(started.method.combination.factors[1].item())
    assert factors[0] > factors[1]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("combination", [pytest.param("linear", marks=pytest.mark.slow), "nonlinear"])
def test_method_learns_a_task_of_32_pixels(learn, combination, seed):
    settings = AuxilearnConfig(every=8, combination=combination)
    best = learn("auxilearn_combine", "discovered", seed, epochs=16, lr=0.006, auxilearn=settings)
    assert best["accuracy"] > 0.9
    assert best["steps"] == 96 + 12


@pytest.mark.parametrize(
    ("method", "classes", "widths", "widest"),
    [
        ("auxilearn", [2], [10, 10], 0.2),
        ("auxilearn_combine", [2, 3], [3], 1.0),
    ],
)
def test_each_mode_has_the_width_and_the_start_of_its_own_script(method, classes, widths, widest):
    layers = build_method(method, TaskSpec(MultitaskConfig(), 16, classes, 1.0)).combination.layers
    linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linears] == [*widths, 1]
    assert widest / 2 < max(layer.weight.max().item() for layer in linears) <= widest
