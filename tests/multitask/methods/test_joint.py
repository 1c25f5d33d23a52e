import dataclasses
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from detaux.backbones.hrnet import HighResolutionNet
from detaux.config.schema import EngineConfig, GradNormConfig, MultitaskConfig, NddrConfig, UncertaintyConfig
from detaux.config.schema.methods import JOINT_METHODS, RULES
from detaux.multitask.aggregators import AGGREGATORS
from detaux.multitask.aggregators.aggregator import AggregatorRow
from detaux.multitask.batches import TaskBatch
from detaux.multitask.methods import METHODS, build_method
from detaux.multitask.methods.base import TaskSpec
from detaux.multitask.methods.nddr import Nddr

CONFIG = MultitaskConfig(lr=0.5, weight_decay=0.3, head_hidden=8)


def test_parameters_of_a_rule_have_a_rate_of_their_own_and_no_decay():
    settings = UncertaintyConfig(init=-0.25, lr_factor=3.0)
    spec = TaskSpec(dataclasses.replace(CONFIG, uncertainty=settings), 16, [2, 3], 0.5)
    method = build_method("hard_sharing+uncertainty", spec)
    assert method.weighting.log_variance.tolist() == [-0.25, -0.25]
    (player,) = method.list_players()
    network, learned = player.optimizer.param_groups
    assert (network["lr"], network["weight_decay"]) == (0.5, 0.3)
    assert (learned["lr"], learned["weight_decay"]) == (pytest.approx(1.5), 0.0)
    assert [id(parameter) for parameter in learned["params"]] == [id(method.weighting.log_variance)]


def test_rate_and_start_of_the_log_variances_are_ten_and_zero_by_default():
    method = build_method("hard_sharing+uncertainty", TaskSpec(CONFIG, 16, [2, 3], 0.5))
    assert method.list_players()[0].optimizer.param_groups[1]["lr"] == 5.0
    assert torch.equal(method.weighting.log_variance, torch.zeros(2))


def test_method_without_a_rule_has_one_group_of_parameters():
    (player,) = build_method("hard_sharing", TaskSpec(CONFIG, 16, [2, 3], 0.5)).list_players()
    assert len(player.optimizer.param_groups) == 1


def build(name, classes=(2, 3), weight=0.5, config=CONFIG):
    torch.manual_seed(0)
    return build_method(name, TaskSpec(config, 16, list(classes), weight))


def draw_batches(classes, seed=0, device="cpu"):
    images = torch.rand(len(classes), 6, 3, 16, 16, generator=torch.Generator().manual_seed(seed)).to(device)
    labels = [{task: torch.arange(6, device=device) % count} for task, count in enumerate(classes)]
    return [TaskBatch(one, label, 6.0) for one, label in zip(images, labels, strict=True)]


def train(method, epochs, lr=0.01, steps=2):
    """Train a method for some epochs. Return the parameters of its network, and its last loss."""
    method.spec = dataclasses.replace(method.spec, config=dataclasses.replace(method.spec.config, lr=lr))
    players, device = method.list_players(), next(method.parameters()).device
    for player in players:
        player.start(EngineConfig(), device, lambda step: 1.0)
    batches = [draw_batches(method.spec.classes, seed, device) for seed in range(epochs * steps)]
    streams = [iter(stream) for stream in zip(*batches, strict=True)]
    method.eval()  # without dropout
    for _ in range(epochs):
        loss = method.train_epoch(players, streams, steps)
    return [parameter.detach().clone() for parameter in method.network.parameters()], loss


def test_aggregator_that_sums_trains_as_fixed_weights(monkeypatch):
    row = AggregatorRow(lambda library, config, tasks: lambda jacobian: jacobian.sum(0))
    monkeypatch.setitem(AGGREGATORS, "plain", row)
    found, loss = train(build("hard_sharing+plain"), 2)
    expected, fixed = train(build("hard_sharing"), 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)  # AdamW divides gradients near 0 by their size
    torch.testing.assert_close(loss, fixed.detach())
    unweighted, _ = train(build("hard_sharing+plain", weight=1.0), 2)
    assert any(not torch.allclose(one, two, rtol=0, atol=2e-3) for one, two in zip(found, unweighted, strict=True))


@pytest.mark.parametrize("rule", set(RULES) - {"uncertainty"})
def test_every_rule_trains_a_single_task_as_without_a_rule(rule):
    found, _ = train(build(f"hard_sharing+{rule}", (2,)), 3)
    torch.testing.assert_close(found, train(build("hard_sharing", (2,)), 3)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_trains_three_tasks(rule):
    method = build(f"hard_sharing+{rule}", (2, 3, 4), config=dataclasses.replace(CONFIG, weight_decay=0.0))
    before = [parameter.detach().clone() for parameter in method.network.parameters()]
    after, loss = train(method, 1)
    assert loss.isfinite()
    assert all(not torch.equal(one, two) for one, two in zip(before, after, strict=True))


@pytest.mark.parametrize("name", JOINT_METHODS)
def test_every_task_reaches_the_last_shared_layers_and_only_its_own_head(name):
    method = build(name, (2, 3, 4))
    shared = method.list_last_shared()
    assert shared
    for task, loss in enumerate(method.compute_losses(draw_batches((2, 3, 4)))):
        assert all(one.abs().sum() > 0 for one in torch.autograd.grad(loss, shared, retain_graph=True))
        for other, head in enumerate(method.network.heads):
            found = torch.autograd.grad(loss, list(head.parameters()), retain_graph=True, allow_unused=True)
            assert [one is not None for one in found] == [other == task] * len(found)


@pytest.mark.parametrize("rule", ["dwa", "gradnorm", "plain"])
def test_step_reads_no_value_from_the_device(rule, monkeypatch):
    """Tensors of torch's meta device have no values, so reading one on the host fails."""
    monkeypatch.setitem(AGGREGATORS, "plain", AggregatorRow(lambda library, config, tasks: lambda one: one.sum(0)))
    method = build(f"hard_sharing+{rule}").to("meta")
    assert train(method, 2)[1].is_meta
    monkeypatch.setattr(method.weighting, "end_step", lambda: float(method.network.heads[0][0].bias.detach().sum()))
    with pytest.raises(RuntimeError, match="meta"):
        train(method, 1)


def test_last_shared_layer_of_hard_sharing_is_the_last_convolution():
    method = build("hard_sharing")
    convolutions = [module for module in method.network.modules() if isinstance(module, nn.Conv2d)]
    assert [id(one) for one in method.list_last_shared()] == [id(convolutions[-1].weight)]


def test_gradnorm_trains_its_weights_apart_with_a_rate_of_their_own_and_no_decay():
    method = build("hard_sharing+gradnorm", config=dataclasses.replace(CONFIG, gradnorm=GradNormConfig(lr_factor=3.0)))
    network, apart = method.list_players()
    assert [group["lr"] for group in (*network.optimizer.param_groups, *apart.optimizer.param_groups)] == [0.5, 1.5]
    assert apart.optimizer.param_groups[0]["weight_decay"] == 0.0
    assert [id(one) for one in apart.optimizer.param_groups[0]["params"]] == [id(method.weighting.task_weights)]


def test_gradnorm_moves_its_weights_towards_equal_norms_with_the_sum_of_the_tasks():
    method = build("hard_sharing+gradnorm", config=dataclasses.replace(CONFIG, gradnorm=GradNormConfig(alpha=0.0)))
    with torch.no_grad():
        method.network.heads[0][0].weight.mul_(10.0)  # the principal task has the longer gradient
    train(method, 2)
    weights = method.weighting.task_weights
    assert weights.sum().item() == pytest.approx(2)
    assert weights[0] < 0.95


def test_dwa_changes_its_weights_after_the_second_epoch():
    two, three = (build("hard_sharing+dwa") for _ in range(2))
    train(two, 1)
    assert two.weighting.task_weights.tolist() == [1.0, 1.0]
    train(three, 2)
    assert (three.weighting.task_weights - 1).abs().min() > 1e-4


def test_player_without_a_loss_shares_batch_statistics_over_ranks(monkeypatch):
    shared = []
    monkeypatch.setattr(
        "detaux.multitask.methods.base.share_batch_statistics",
        lambda module, _, **flags: shared.append((module, flags)),
    )
    method = build("hard_sharing+mgda")
    (player,) = method.list_players()
    for flag in (True, False):
        player.start(EngineConfig(), torch.device("cpu"), lambda step: 1.0, differentiates_twice=flag)
    assert shared == [(method.network, {"differentiates_twice": flag}) for flag in (True, False)]


take_step = runpy.run_path(str(Path(__file__).parents[1] / "host_reads.py"))["take_step"]
SPEC = TaskSpec(MultitaskConfig(head_hidden=8), 16, [2, 3], 0.5)
READS = {
    "item": lambda tensor: tensor.sum().item(),
    "cpu": lambda tensor: tensor.cpu(),
    "to": lambda tensor: tensor.to("cpu"),
    "bool": lambda tensor: bool(tensor.sum() > 0),
    "list": lambda tensor: tensor.tolist(),
    "float": lambda tensor: float(tensor.sum()),
    "int": lambda tensor: int(tensor.sum()),
    "array": lambda tensor: tensor.detach().numpy(),
    "mask": lambda tensor: tensor[tensor > 0],
    "copy": lambda tensor: torch.zeros(tensor.shape).copy_(tensor),
}


@pytest.mark.parametrize("name", ["stl", "hard_sharing", "hard_sharing+uncertainty", "nddr", "nddr+uncertainty"])
def test_step_reads_no_value(name):
    assert take_step(name, SPEC).is_meta


class Branches(nn.Module):
    """A stand-in for HRNet, which takes ten seconds without values: one convolution for each branch."""

    channels, sides = HighResolutionNet.channels, [8, 4, 2, 1]

    def __init__(self, *_):
        super().__init__()
        pairs = zip(self.channels, HighResolutionNet.strides, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(3, count, stride, stride) for count, stride in pairs)

    def iterate_maps(self, images):
        return [convolution(images) for convolution in self.convolutions]


def test_step_of_mti_reads_no_value(monkeypatch):
    monkeypatch.setattr("detaux.multitask.networks.mti.HighResolutionNet", Branches)
    assert take_step("mti", TaskSpec(MultitaskConfig(head_hidden=8), 32, [2, 3], 0.5)).is_meta


def test_step_by_sgd_reads_no_value():
    assert take_step("nddr", TaskSpec(MultitaskConfig(nddr=NddrConfig(optimizer="sgd")), 16, [2, 3], 0.5)).is_meta


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("part", ["network", "loss"])
def test_step_that_reads_a_value_fails(read, part, monkeypatch):
    class Reading(Nddr):
        def build_network(self):
            network = super().build_network()
            if part == "network":
                network.fusions[1].register_forward_hook(lambda module, maps, fused: READS[read](fused[0]) and None)
            return network

        def compute_loss(self, batches):
            loss = super().compute_loss(batches)
            if part == "loss":
                READS[read](loss)
            return loss

    monkeypatch.setitem(METHODS, "nddr", Reading)
    with pytest.raises((RuntimeError, TypeError), match="[Mm]eta"):
        take_step("nddr", SPEC)
