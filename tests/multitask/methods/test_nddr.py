import dataclasses

import pytest
import torch

from detaux.config.schema import MultitaskConfig, NddrConfig, UncertaintyConfig
from detaux.multitask.batches import TaskBatch, TrainingData
from detaux.multitask.fit import train_trial
from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import TaskSpec
from detaux.multitask.trial import Trial

CONFIG = MultitaskConfig(lr=0.5, weight_decay=0.3, head_hidden=8, dropout=0.0)


def build(name="nddr", config=CONFIG, classes=(2, 3), **settings):
    torch.manual_seed(0)
    config = dataclasses.replace(config, nddr=NddrConfig(**settings), uncertainty=UncertaintyConfig(lr_factor=3.0))
    return build_method(name, TaskSpec(config, 16, list(classes), 0.5))


def get_optimizer(method):
    (player,) = method.list_players()
    return player.optimizer


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_fusion_layers_have_a_rate_of_their_own_and_every_parameter_has_one_group(name):
    method = build("nddr+uncertainty", lr_factor=10.0, optimizer=name)
    groups = get_optimizer(method).param_groups
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.5, 0.3), (5.0, 0.3), (1.5, 0.0)]
    fusions = {id(parameter) for parameter in method.network.fusions.parameters()}
    assert {id(parameter) for parameter in groups[1]["params"]} == fusions
    assert {id(parameter) for parameter in groups[2]["params"]} == {id(method.weighting.log_variance)}
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in method.parameters())


def test_defaults_are_those_of_the_paper_with_adamw():
    method = build()
    assert [group["lr"] for group in get_optimizer(method).param_groups] == [0.5, 0.5]
    assert isinstance(get_optimizer(method), torch.optim.AdamW)
    assert float(method.network.fusions[0].convolution.weight[0, 0]) == pytest.approx(0.9)
    assert float(method.network.fusions[0].convolution.weight[0, 32]) == pytest.approx(0.1)


def test_alpha_of_the_config_is_that_of_every_fusion():
    for fusion in build(alpha=0.6).network.fusions:
        assert float(fusion.convolution.weight[0, 0]) == pytest.approx(0.6)


def test_sgd_takes_steps_with_momentum():
    """Two steps along one gradient g move by lr g, then by lr (g + 0.9 g)."""
    method = build(config=dataclasses.replace(CONFIG, weight_decay=0.0), optimizer="sgd")
    optimizer, weight = get_optimizer(method), method.network.heads[0][3].bias
    start, gradient = weight.detach().clone(), torch.tensor([1.0, -2.0])
    for moved in (0.5, 0.5 + 0.95):
        weight.grad = gradient.clone()
        optimizer.step()
        torch.testing.assert_close(weight.detach(), start - moved * gradient)


def test_weight_of_the_auxiliary_loss_scales_what_reaches_its_head():
    images, gradients = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), []
    for weight in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        method = build_method("nddr", TaskSpec(CONFIG, 16, [2, 3], weight))
        batches = [
            TaskBatch(images, {0: torch.arange(8) % 2}, 8),
            TaskBatch(images.flip(0), {1: torch.arange(8) % 3}, 8),
        ]
        method.compute_loss(batches).backward()
        gradients.append([head[3].weight.grad for head in method.network.heads])
    assert all(torch.equal(principal, gradients[0][0]) for principal, _ in gradients)
    assert gradients[0][1].count_nonzero() == 0
    torch.testing.assert_close(gradients[2][1], 2 * gradients[1][1])


def draw_stripes(count, seed):
    """Pictures of 32 pixels with noise: stripes of 3 directions are the principal label, 2 widths the hidden one."""
    generator = torch.Generator().manual_seed(seed)
    direction, width = (torch.randint(high, (count,), generator=generator) for high in (3, 2))
    down, across = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    ways = torch.stack([down, across, (down + across) / 2**0.5])
    phase = 6.3 * torch.rand(count, generator=generator)
    waves = torch.sin(ways[direction] * torch.tensor([1.6, 0.8])[width][:, None, None] + phase[:, None, None])
    gray = 128 + 60 * waves + 40 * torch.randn(count, 32, 32, generator=generator)
    return gray.clamp(0, 255).to(torch.uint8)[..., None].expand(-1, -1, -1, 3).contiguous(), direction, width


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("optimizer", "lr", "factor"), [("adamw", 1e-3, 1.0), pytest.param("sgd", 1e-2, 10.0, marks=pytest.mark.slow)]
)
def test_nddr_learns_directions_of_stripes_in_sixty_steps(optimizer, lr, factor, seed):
    images, direction, width = draw_stripes(320, seed)
    settings = NddrConfig(optimizer=optimizer, lr_factor=factor)
    config = MultitaskConfig(epochs=6, batch_size=32, lr=lr, head_hidden=32, nddr=settings)
    data = TrainingData(images, direction, width, [3, 2], noise=0.0)
    _, best, curve = train_trial(
        Trial("nddr", "discovered", 0.5, seed), config, data, draw_stripes(150, seed + 100)[:2]
    )
    assert best["steps"] == 60
    assert curve[-1]["accuracy"] > 0.9  # chance is 1/3
