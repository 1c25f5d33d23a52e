import torch

from detaux.config.schema import MultitaskConfig
from detaux.multitask.weightings.fixed import FixedWeights

CONFIG = MultitaskConfig()


def test_fixed_weights_match_hand_computed_sum():
    losses = [torch.tensor(2.0), torch.tensor(3.0), torch.tensor(5.0)]
    assert FixedWeights(CONFIG, 3, 0.1)(losses).item() == torch.tensor(2.8).item()


def test_one_task_is_its_own_loss():
    loss = torch.tensor(0.3)
    assert FixedWeights(CONFIG, 1, 7.0)([loss]) == loss
