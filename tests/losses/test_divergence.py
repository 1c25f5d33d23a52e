import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from detaux.losses.divergence import divergence_loss


def test_divergence_matches_hand_value():
    """Mean 1 and 2 with variance 1 give 1/2 and 2; mean 0 with variance 4 gives (4 - ln 4 - 1) / 2."""
    means = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    log_variance = torch.tensor([0.0, math.log(4)], dtype=torch.float64)
    expected = (0.5 + 2.0) / 2 + (3 - math.log(4)) / 2
    assert divergence_loss(means, log_variance).item() == pytest.approx(expected, rel=1e-12)


def test_divergence_matches_torch_and_loops(loops, draw):
    means, log_variance = draw(7, 5), draw(5)
    normal = Normal(means, (log_variance / 2).exp())
    found = divergence_loss(means, log_variance).item()
    assert found == pytest.approx(kl_divergence(normal, Normal(0.0, 1.0)).sum(1).mean().item(), rel=1e-10)
    assert found == pytest.approx(loops.compute_divergence(means.tolist(), log_variance.tolist()), rel=1e-10)


def test_divergence_gradient_matches_finite_differences(draw):
    inputs = draw(4, 3).requires_grad_(), draw(3).requires_grad_()
    assert torch.autograd.gradcheck(divergence_loss, inputs)


def test_divergence_is_zero_only_for_the_prior(draw):
    assert divergence_loss(torch.zeros(3, 2), torch.zeros(2)) == 0
    assert divergence_loss(draw(3, 2), torch.zeros(2)) > 0
