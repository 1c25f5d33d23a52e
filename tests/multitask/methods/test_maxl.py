import copy
import dataclasses

import pytest
import torch
from torch import nn

from detaux.config.schema import MaxlConfig, MultitaskConfig
from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import TaskSpec

CLASSES = [2]
SETTINGS = MaxlConfig(slots=3)


def take_step(started, batch):
    """A step of the generator."""
    learner, teacher = started.players
    started.method.teach(teacher, batch, started.method.compute_virtual_lr(learner))


def teach(start_method, **changes):
    """A started method and the gradients [P] of its generator in one step."""
    started = start_method("maxl", CLASSES, maxl=dataclasses.replace(SETTINGS, **changes))
    caught = started.catch_gradients(1)
    take_step(started, started.draw()[0])
    return started, torch.cat([value.flatten() for value in caught])


def lose_focal(logits, targets, gamma=2):
    log_p = torch.log_softmax(logits, 1)
    return -(targets * (1 - log_p.exp()) ** gamma * log_p).sum(1).mean()


def reach_goal(started, generator):
    """The principal loss after the virtual step that a generator's labels cause, plus its use of slots."""
    network, (batch,) = copy.deepcopy(started.method.network), started.draw()
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    hard = nn.functional.one_hot(batch.labels[0], 2).double()
    with torch.no_grad():
        own = generator(batch.images)[0].view(-1, 2, 3)[torch.arange(8), batch.labels[0]].softmax(1)
    soft = (hard[:, :, None] * own[:, None, :]).flatten(1)
    principal, auxiliary = network(batch.images)
    (lose_focal(principal, hard) + lose_focal(auxiliary, soft)).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 10 * 1e-3 * parameter.grad
        usage = soft.mean(0)
        return (lose_focal(network(batch.images)[0], hard) + 0.2 * (usage * usage.log()).sum()).item()


def test_generator_follows_the_goal_that_is_written_out(start_method):
    """The gradient along a random direction, by central differences. Dropout, at 0.5, is off in the step."""
    started, gradients = teach(start_method)
    generator = started.method.generator.network
    parameters = list(generator.parameters())
    direction = [torch.randn_like(parameter) / len(gradients) ** 0.5 for parameter in parameters]
    ends = []
    for sign in (1, -1):
        moved = copy.deepcopy(generator)
        with torch.no_grad():
            for parameter, step in zip(moved.parameters(), direction, strict=True):
                parameter += sign * 1e-5 * step
        ends.append(reach_goal(started, moved))
    expected = (ends[0] - ends[1]) / 2e-5
    found = (gradients * torch.cat([step.flatten() for step in direction])).sum().item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_first_order_gradient_points_where_the_exact_one_does(start_method):
    exact, approximate = (
        teach(start_method, gradient=gradient, entropy_weight=0.0)[1] for gradient in ("exact", "first_order")
    )
    assert torch.cosine_similarity(exact, approximate, dim=0).item() > 0.99
    assert not torch.equal(exact, approximate)


@pytest.mark.parametrize("gradient", ["exact", "first_order"])
def test_term_that_uses_all_slots_reaches_the_generator_in_both_forms(start_method, gradient):
    started, gradients = teach(start_method, gradient=gradient, virtual_lr_factor=0.0, entropy_weight=0.3)
    (batch,) = started.draw()
    usage = started.method.generator(batch.images, batch.labels[0]).mean(0)
    expected = torch.autograd.grad(0.3 * (usage * usage.log()).sum(), list(started.method.generator.parameters()))
    torch.testing.assert_close(gradients, torch.cat([value.flatten() for value in expected]))
    assert gradients.norm() > 1e-4


@pytest.mark.parametrize(
    "change", [{"focal_gamma": 0}, {"entropy_weight": 0.0}, {"virtual_lr_factor": 5.0}, {"gradient": "first_order"}]
)
def test_setting_changes_the_gradient(start_method, change):
    plain, changed = teach(start_method)[1], teach(start_method, **change)[1]
    assert not torch.allclose(changed, plain, rtol=1e-6, atol=0)


def test_virtual_step_follows_the_learning_rate_of_the_network(start_method):
    """Without the entropy term and for a small step, the gradient is proportional to it."""
    settings = dataclasses.replace(SETTINGS, entropy_weight=0.0, virtual_lr_factor=0.01)
    started = start_method("maxl", CLASSES, maxl=settings, total=2)
    caught = started.catch_gradients(1)
    first, state = started.draw()[0], copy.deepcopy(started.method.network.state_dict())
    take_step(started, first)
    started.method.step(started.players, started.streams)  # the rate is halved
    started.method.network.load_state_dict(state)
    take_step(started, first)
    before, after = torch.cat([value.flatten() for value in caught]).chunk(2)
    assert (after - before / 2).norm() < 1e-2 * before.norm()


def test_only_the_generator_moves_in_the_second_pass_and_only_the_network_in_the_first(start_method):
    started = start_method("maxl", CLASSES, backbone="resnet18", batch_size=4, maxl=SETTINGS)
    method, streams = started.method, started.streams
    before = copy.deepcopy(method.state_dict())
    method.step(started.players, streams)
    changed = find_changed(method, before)
    assert {name.partition(".")[0] for name in changed if "running" not in name and "tracked" not in name} == {
        "network"
    }
    assert all(parameter.grad is None for parameter in method.generator.parameters())
    before = copy.deepcopy(method.state_dict())
    take_step(started, next(streams[0]))
    assert {name.partition(".")[0] for name in find_changed(method, before)} == {"generator"}
    assert all(parameter.grad is None for parameter in method.network.parameters())


def find_changed(method, before):
    return [name for name, value in method.state_dict().items() if not torch.equal(value, before[name])]


def test_epoch_is_a_pass_of_the_network_and_one_of_the_generator(start_method, monkeypatch):
    started = start_method("maxl", CLASSES, maxl=SETTINGS)
    seen, teach = [], started.method.teach
    monkeypatch.setattr(
        started.method,
        "teach",
        lambda teacher, batch, lr: seen.append((started.players[0].steps, batch)) or teach(teacher, batch, lr),
    )
    loss = started.method.train_epoch(started.players, started.streams, 3)
    assert [player.steps for player in started.players] == [3, 3]
    assert [steps for steps, _ in seen] == [3, 3, 3]
    assert torch.cat([batch.images for _, batch in seen]).unique(dim=0).shape[0] == 24  # each image once
    assert torch.isfinite(loss)


def test_numbers_of_an_epoch_are_those_of_its_second_pass(start_method):
    started = start_method("maxl", CLASSES, maxl=SETTINGS)
    assert started.method.describe_epoch() == {}
    streams = started.streams
    for _ in range(2):
        started.method.train_epoch(started.players, streams, 3)
        numbers = started.method.describe_epoch()
        assert 1 < numbers["slots_per_image"] <= 3 + 1e-9
        assert 1 < numbers["slots_per_class"] <= 3 + 1e-9
    assert started.method.statistics._images == 24


def test_network_has_a_head_for_the_generated_labels_and_the_generator_has_no_dropout():
    spec = TaskSpec(MultitaskConfig(dropout=0.4, head_hidden=8, maxl=MaxlConfig(slots=7)), 16, [3], 0.0)
    method = build_method("maxl", spec)
    logits = method.network(torch.zeros(2, 3, 16, 16))
    assert [tuple(one.shape) for one in logits] == [(2, 3), (2, 21)]
    assert [layer.p for layer in method.network.modules() if isinstance(layer, nn.Dropout)] == [0.4, 0.4]
    assert [layer.p for layer in method.generator.modules() if isinstance(layer, nn.Dropout)] == [0.0]


def test_generator_has_a_rate_and_a_decay_of_its_own():
    settings = MaxlConfig(lr_factor=3.0, weight_decay=0.25)
    method = build_method("maxl", TaskSpec(MultitaskConfig(lr=0.5, maxl=settings), 16, [2], 0.0))
    network, generator = (player.optimizer.param_groups[0] for player in method.list_players())
    assert (network["lr"], network["weight_decay"]) == (0.5, 5e-3)
    assert (generator["lr"], generator["weight_decay"]) == (1.5, 0.25)
    assert [id(one) for one in generator["params"]] == [id(one) for one in method.generator.parameters()]


def test_generator_still_looks_ahead_after_the_last_step_of_the_network(start_method, monkeypatch):
    started, rates = start_method("maxl", CLASSES, maxl=SETTINGS, total=3), []
    monkeypatch.setattr(started.method, "teach", lambda teacher, batch, lr: rates.append(lr))
    started.method.train_epoch(started.players, started.streams, 3)
    assert started.players[0].optimizer.param_groups[0]["lr"] == 0
    assert rates == [pytest.approx(10 * 1e-3)] * 3


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_method_learns_a_task_of_32_pixels_and_its_generator_uses_all_slots(learn, seed):
    best = learn("maxl", "none", seed, epochs=8, lr=0.01, maxl=MaxlConfig(gradient="first_order"))
    assert best["accuracy"] > 0.9
    assert best["steps"] == 2 * 48
    assert best["slots_per_class"] > 4.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_method_learns_a_task_of_32_pixels_by_exact_gradients(learn, seed):
    assert learn("maxl", "none", seed, epochs=8, lr=0.01)["accuracy"] > 0.9
