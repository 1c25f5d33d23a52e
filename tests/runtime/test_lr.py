import math

import pytest
import torch

from detaux.config.schema import PhaseConfig
from detaux.runtime.lr import compute_decay, compute_lr


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("none", [0.5, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 1.0, 0.55]),
        ("cosine", [0.5, 1.0, 1.0, 1.0, 0.55]),
    ],
)
def test_learning_rate_ramps_and_decays(decay, expected):
    phase = PhaseConfig(steps=10, lr=1.0, ramp_steps=2, decay=decay, decay_fraction=0.2, final_lr_fraction=0.1)
    assert [round(compute_lr(phase, step), 6) for step in (0, 1, 4, 8, 9)] == expected


def test_cosine_is_that_of_torch():
    parameter = torch.zeros(1, requires_grad=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD([parameter], lr=1.0), T_max=50)
    for step in range(50):
        assert math.isclose(compute_decay("cosine", step, 50), schedule.get_last_lr()[0], abs_tol=1e-12)
        schedule.optimizer.step()
        schedule.step()


def test_constant_rate_stays_and_linear_one_falls_by_equal_steps():
    assert [compute_decay("none", step, 4) for step in range(5)] == [1.0] * 5
    assert [compute_decay("linear", step, 4) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
