import math

import pytest
import torch

from detaux.config.schema import MultitaskConfig, UncertaintyConfig
from detaux.multitask.weightings.uncertainty import LIMIT, UncertaintyWeights

CONFIG = MultitaskConfig()


def test_uncertainty_is_stationary_at_log_two_losses():
    weighting = UncertaintyWeights(CONFIG, 2, 1.0)
    losses = [torch.tensor(0.7), torch.tensor(2.5)]
    with torch.no_grad():
        weighting.log_variance.copy_(torch.tensor([math.log(2 * 0.7), math.log(2 * 2.5)]))
    weighting(losses).backward()
    assert weighting.log_variance.grad.abs().max() < 1e-6


def test_uncertainty_at_start_is_the_plain_sum():
    assert UncertaintyWeights(CONFIG, 2, 0.5)([torch.tensor(1.0), torch.tensor(3.0)]).item() == 2.5


def test_uncertainty_begins_at_its_initial_value():
    loss = UncertaintyWeights(MultitaskConfig(uncertainty=UncertaintyConfig(init=-0.5)), 1, 1.0)([torch.tensor(2.0)])
    assert loss.item() == pytest.approx(math.exp(0.5) * 2 - 0.25)


def test_uncertainty_weight_stays_bounded_for_a_vanishing_loss():
    weighting = UncertaintyWeights(CONFIG, 1, 1.0)
    with torch.no_grad():
        weighting.log_variance.fill_(-50.0)
    weighting.end_step()
    assert weighting([torch.tensor(1.0)]).item() <= math.exp(LIMIT)


def test_uncertainty_comes_back_from_its_bound():
    weighting = UncertaintyWeights(CONFIG, 1, 1.0)
    optimizer = torch.optim.AdamW(weighting.parameters(), 0.01, weight_decay=0.0)
    for loss, steps in ((5e-4, 700), (1.0, 100)):
        for _ in range(steps):
            optimizer.zero_grad()
            weighting([torch.tensor(loss)]).backward()
            optimizer.step()
            weighting.end_step()
        if loss < 1:
            assert weighting.log_variance.item() == -LIMIT
    assert weighting.log_variance.item() > -LIMIT + 0.5
