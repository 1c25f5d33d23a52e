import math

import pytest
import torch

from detaux.config.schema import DWAConfig, MultitaskConfig
from detaux.multitask.weightings import dwa
from detaux.multitask.weightings.dwa import DynamicWeights

EPOCHS = [[(1.0, 0.5), (3.0, 1.5)], [(1.0, 0.9)]]  # mean losses (2, 1) and then (1, 0.9), so ratios 0.5 and 0.9


def train(weighting, epochs):
    for epoch in epochs:
        for losses in epoch:
            weighting.observe([torch.tensor(loss, requires_grad=True) for loss in losses], list)
        weighting.end_epoch()
    return weighting


@pytest.mark.parametrize(("temperature", "expected"), [(2.0, (0.900332, 1.099668)), (0.5, (0.620051, 1.379949))])
def test_weights_match_hand_computed_softmax_of_ratios(temperature, expected):
    assert expected[0] == pytest.approx(2 / (1 + math.exp(0.4 / temperature)), abs=1e-6)
    weighting = train(DynamicWeights(MultitaskConfig(dwa=DWAConfig(temperature)), 2, 1.0), EPOCHS)
    assert weighting.task_weights.tolist() == pytest.approx(expected, abs=1e-6)


def test_weights_are_one_in_the_first_two_epochs():
    assert train(DynamicWeights(MultitaskConfig(), 2, 1.0), EPOCHS[:1]).task_weights.tolist() == [1.0, 1.0]


def test_default_temperature_is_that_of_the_paper():
    assert MultitaskConfig().dwa.temperature == 2.0


def test_weights_use_only_the_last_two_epochs():
    weighting = train(DynamicWeights(MultitaskConfig(), 2, 1.0), [[(70.0, 0.1)], *EPOCHS])
    assert weighting.task_weights.tolist() == pytest.approx([0.900332, 1.099668], abs=1e-6)


def test_given_weight_multiplies_the_auxiliary_terms():
    weighting = train(DynamicWeights(MultitaskConfig(), 2, 0.5), EPOCHS)
    losses = [torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)]
    loss = weighting(losses)
    assert loss.item() == pytest.approx(2 * 0.900332 + 0.5 * 3 * 1.099668, rel=1e-5)
    loss.backward()
    assert [one.grad.item() for one in losses] == pytest.approx([0.900332, 0.5 * 1.099668], rel=1e-5)


@pytest.mark.parametrize("tasks", [1, 3])
def test_weights_sum_to_the_number_of_tasks(tasks):
    epochs = [[tuple(2.0 + task for task in range(tasks))], [tuple(1.0 + task**2 for task in range(tasks))]]
    assert train(DynamicWeights(MultitaskConfig(), tasks, 1.0), epochs).task_weights.sum().item() == pytest.approx(
        tasks
    )


def test_task_without_a_loss_has_a_ratio_of_one():
    weighting = train(DynamicWeights(MultitaskConfig(), 2, 1.0), [[(1.0, 0.0)], [(1.0, 0.0)]])
    assert weighting.task_weights.tolist() == [1.0, 1.0]


def test_means_are_those_of_all_ranks(monkeypatch):
    monkeypatch.setattr(dwa, "global_mean", lambda values: values * torch.tensor([1.0, 3.0]) + 1)
    weighting = train(DynamicWeights(MultitaskConfig(), 2, 1.0), [[(1.0, 1.0)], [(2.0, 2.0)]])
    ratios = torch.tensor([3 / 2, 7 / 4])
    torch.testing.assert_close(weighting.task_weights, 2 * torch.softmax(ratios / 2, 0))
