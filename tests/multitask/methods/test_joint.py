import dataclasses

import pytest
import torch

from detaux.config.schema import MultitaskConfig, UncertaintyConfig
from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import TaskSpec

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
