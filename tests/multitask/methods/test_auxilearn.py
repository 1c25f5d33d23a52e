import copy
import dataclasses

import pytest
import torch
from torch import nn

from detaux.config.schema import AuxilearnConfig, MultitaskConfig
from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import TaskSpec

SETTINGS = AuxilearnConfig(slots=3, neumann_lr=0.1, every=2, held_out=0.25)


def start(start_method, **changes):
    return start_method("auxilearn", [2], auxilearn=dataclasses.replace(SETTINGS, **changes))


def teach(start_method, **changes):
    """A started method and the gradients [P] of the parameters of its loss in one step, before they are clipped."""
    started = start(start_method, **changes)
    caught = started.catch_gradients(1)
    *batches, held_out = started.draw()
    started.method.teach(started.players, batches, held_out)
    return started, torch.cat([value.flatten() for value in caught])


def lose_focal(logits, targets, gamma=2):
    log_p = torch.log_softmax(logits, 1)
    return -(targets * (1 - log_p.exp()) ** gamma * log_p).sum(1)


@pytest.mark.parametrize("combination", ["linear", "nonlinear"])
def test_loss_follows_the_goal_that_is_written_out(start_method, combination):
    """Without further terms of the series the gradient is that of -lr <grad train loss, grad goal>: along a random
    direction, by central differences. Dropout, at 0.5, is off."""
    started, gradients = teach(start_method, combination=combination, neumann_terms=0)
    method = started.method
    network = copy.deepcopy(method.network)
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    batch, held_out = started.draw()
    hard, goal = (nn.functional.one_hot(one.labels[0], 2).double() for one in (batch, held_out))

    def align(parts):
        combination, generator = parts
        own = generator.network(batch.images)[0].view(-1, 2, 3)[torch.arange(8), batch.labels[0]].softmax(1)
        soft = (hard[:, :, None] * own[:, None, :]).flatten(1).detach()
        principal, auxiliary = network(batch.images)
        losses = torch.stack([lose_focal(principal, hard), 0.25 * lose_focal(auxiliary, soft)], 1)
        goal_loss = lose_focal(network(held_out.images)[0], goal).mean()
        both = [
            torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)
            for loss in (combination(losses).mean(), goal_loss)
        ]
        return -0.1 * sum((one * other).sum().item() for one, other in zip(*both, strict=True))

    direction = [torch.randn_like(value) / len(gradients) ** 0.5 for value in method.loss_parts.parameters()]
    ends = []
    for sign in (1, -1):
        moved = copy.deepcopy(method.loss_parts)
        with torch.no_grad():
            for parameter, step in zip(moved.parameters(), direction, strict=True):
                parameter += sign * 1e-5 * step
        ends.append(align(moved))
    found = (gradients * torch.cat([step.flatten() for step in direction])).sum().item()
    assert found == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"focal_gamma": 0},
        {"generated_weight": 0.5},
        {"neumann_terms": 0},
        {"neumann_lr": 0.05},
        {"held_out": 0.5},
    ],
)
def test_setting_changes_the_gradient(start_method, change):
    plain, changed = teach(start_method)[1], teach(start_method, **change)[1]
    assert not torch.allclose(changed, plain, rtol=1e-6, atol=0)


def test_released_scale_leaves_out_the_step_size(start_method):
    plain, released = teach(start_method)[1], teach(start_method, neumann_scale="released")[1]
    torch.testing.assert_close(0.1 * released, plain)


def test_gradient_is_clipped_to_its_norm(start_method):
    moves = []
    for clip in (1e-3, 1e-4):
        started = start(start_method, clip=clip, optimizer="sgd", weight_decay=0.0, neumann_scale="released")
        before = copy.deepcopy(started.method.generator.state_dict())
        *batches, held_out = started.draw()
        started.method.teach(started.players, batches, held_out)
        after = started.method.generator.state_dict()
        moves.append(torch.cat([(after[name] - value).flatten() for name, value in before.items()]).norm().item())
    assert moves[0] == pytest.approx(10 * moves[1], rel=1e-3)
    assert moves[0] <= 1e-3 * 1e-3 * 1.001  # clip x learning rate


def test_optimiser_of_the_loss_has_its_own_settings():
    settings = AuxilearnConfig(lr_factor=3.0, weight_decay=0.25)
    for optimizer, kind in (("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)):
        config = MultitaskConfig(lr=0.5, auxilearn=dataclasses.replace(settings, optimizer=optimizer))
        method = build_method("auxilearn", TaskSpec(config, 16, [2], 0.0))
        network, learned = method.list_players()
        assert isinstance(network.optimizer, torch.optim.AdamW)
        assert type(learned.optimizer) is kind
        (group,) = learned.optimizer.param_groups
        assert (group["lr"], group["weight_decay"]) == (1.5, 0.25)
        assert learned.clip == 50
        parts = [*method.combination.parameters(), *method.generator.parameters()]
        assert [id(one) for one in group["params"]] == [id(one) for one in parts]
    assert group["momentum"] == 0.9


def test_loss_takes_a_step_after_each_few_of_the_network(start_method):
    started = start(start_method, every=3)
    streams = started.streams
    taught = []
    for _ in range(7):
        started.method.step(started.players, streams)
        taught.append(started.players[1].steps)
    assert taught == [0, 0, 1, 1, 1, 2, 2]
    assert started.players[0].steps == 7


def test_held_out_images_train_no_network_and_come_from_the_training_split(start_method):
    started = start(start_method)
    training, held_out = started.method.list_streams(started.data)
    assert sorted([*training.indices.tolist(), *held_out.indices.tolist()]) == list(range(24))
    assert len(held_out.indices) == 6
    assert [training.tasks, held_out.tasks] == [(0,), (0,)]


def test_seed_of_the_trial_draws_the_held_out_images():
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(build_method("auxilearn", TaskSpec(MultitaskConfig(head_hidden=8), 16, [2], 0.0)).seed)
    assert found[0] == found[1] != found[2]


def test_step_of_the_network_leaves_the_loss_alone(start_method):
    started = start(start_method)
    parts = copy.deepcopy(started.method.loss_parts.state_dict())
    started.method.step(started.players, started.streams)
    assert all(torch.equal(value, parts[name]) for name, value in started.method.loss_parts.state_dict().items())
    assert all(parameter.grad is None for parameter in started.method.loss_parts.parameters())


def test_step_of_the_loss_moves_the_generator_and_leaves_the_network_alone(start_method):
    started = start_method("auxilearn", [2], backbone="resnet18", batch_size=4, auxilearn=SETTINGS)
    method, before = started.method, copy.deepcopy(started.method.state_dict())
    *batches, held_out = started.draw()
    method.teach(started.players, batches, held_out)
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in changed if name.startswith("network.")]
    assert all(f"generator.{name}" in changed for name, _ in method.generator.named_parameters())
    assert any(name.startswith("combination.") for name in changed)
    assert all(parameter.grad is None for parameter in method.network.parameters())


@pytest.mark.parametrize("combination", ["linear", "nonlinear"])
def test_combined_loss_never_falls_if_a_task_loss_rises_after_a_step(start_method, combination):
    started = start(start_method, combination=combination)
    method = started.method
    weights = [value for name, value in method.combination.named_parameters() if not name.endswith("bias")]
    with torch.no_grad():
        for weight in weights:
            weight.view(-1)[0] = -0.5
    *batches, held_out = started.draw()
    method.teach(started.players, batches, held_out)
    numbers = method.describe_epoch()
    assert numbers["slope_0"] >= 1
    assert numbers["slope_1"] >= 0
    assert {"slots_per_image", "slots_per_class"} <= numbers.keys()
    assert all(bool((weight >= 0).all()) for weight in weights)
    assert any(bool((weight > 0).any()) for weight in weights)


def test_slopes_are_the_weights_of_a_linear_combination(start_method):
    started = start(start_method, combination="linear")
    with torch.no_grad():
        started.method.combination.factors.copy_(torch.tensor([0.5, 2.0]))
    assert started.method.describe_epoch() == {"slope_0": 1.5, "slope_1": 2.0}


def test_numbers_of_labels_are_those_of_one_epoch(start_method):
    started = start(start_method)
    streams = started.streams
    for _ in range(2):
        started.method.train_epoch(started.players, streams, 1)
    assert 0 < started.method.statistics._images <= 2 * 8


def test_hidden_layers_are_those_of_the_config():
    config = MultitaskConfig(auxilearn=AuxilearnConfig(combination="nonlinear", hidden=[4, 6]))
    method = build_method("auxilearn", TaskSpec(config, 16, [2], 0.0))
    assert [layer.out_features for layer in method.combination.layers if isinstance(layer, nn.Linear)] == [4, 6, 1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_method_learns_a_task_of_32_pixels(learn, seed):
    best = learn("auxilearn", "none", seed, epochs=16, lr=0.006, auxilearn=AuxilearnConfig(every=8))
    assert best["accuracy"] > 0.9
    assert best["steps"] == 96 + 12
