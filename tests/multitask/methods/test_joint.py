import dataclasses
import runpy
from pathlib import Path

import pytest
import torch

from detaux.config.schema import MultitaskConfig, NddrConfig, UncertaintyConfig
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


@pytest.mark.parametrize("name", ["stl", "hard_sharing", "hard_sharing+uncertainty", "nddr", "nddr+uncertainty", "mti"])
def test_step_reads_no_value(name):
    assert take_step(name, SPEC).is_meta


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
