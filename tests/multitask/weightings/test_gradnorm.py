import pytest
import torch

from detaux.config.schema import GradNormConfig, MultitaskConfig
from detaux.multitask.weightings import gradnorm
from detaux.multitask.weightings.gradnorm import GradNormWeights, compute_gradient

SLOPES = (6.0, 2.0)  # norms of the two gradients


def make_losses(shared, offsets=(1.0, 1.0), slopes=SLOPES):
    """Losses that are linear in a shared weight of one element, which is 0."""
    return [slope * shared.sum() + offset for slope, offset in zip(slopes, offsets, strict=True)]


def observe(weighting, *offsets, slopes=SLOPES):
    """The gradient of the task weights after steps with the losses `offsets`."""
    shared = torch.zeros(1, 1, requires_grad=True)
    for values in offsets:
        weighting.observe(make_losses(shared, values, slopes), lambda: [shared])
    return weighting.task_weights.grad


def test_first_gradient_matches_hand_computed_value():
    """G = (6, 2), and both targets are their mean 4."""
    assert observe(GradNormWeights(MultitaskConfig(), 2, 1.0), (1.0, 1.0)).tolist() == [6.0, -2.0]


@pytest.mark.parametrize(("alpha", "expected"), [(1.5, [-6.0, 2.0]), (0.5, [6.0, -2.0])])
def test_gradient_after_unequal_progress_matches_hand_computed_value(alpha, expected):
    """Rates are 3/2 and 1/2, so targets are 4 x 1.5^1.5 = 7.3 and 4 x 0.5^1.5 = 1.4; for alpha 1/2, 4.9 and 2.8."""
    weighting = GradNormWeights(MultitaskConfig(gradnorm=GradNormConfig(alpha=alpha)), 2, 1.0)
    assert observe(weighting, (2.0, 4.0), (1.5, 1.0)).tolist() == expected


def test_gradient_equals_that_of_the_objective_with_constant_targets():
    weights = torch.tensor([0.5, 1.2, 1.3], dtype=torch.float64, requires_grad=True)
    norms, remaining = (torch.tensor(values, dtype=torch.float64) for values in ([3.0, 0.4, 1.1], [0.9, 0.2, 0.6]))

    def objective(values, targets):
        return (values * norms - targets).abs().sum()

    def find_targets(values):
        return (values * norms).mean() * (remaining / remaining.mean()) ** 1.5

    found = compute_gradient(weights.detach(), norms, remaining, 1.5)
    (constant,) = torch.autograd.grad(objective(weights, find_targets(weights).detach()), weights)
    (moving,) = torch.autograd.grad(objective(weights, find_targets(weights)), weights)
    torch.testing.assert_close(found, constant, rtol=0, atol=0)
    assert not torch.allclose(found, moving)


def test_default_alpha_is_that_of_the_paper():
    assert MultitaskConfig().gradnorm.alpha == 1.5


def test_alpha_zero_gives_all_gradients_one_norm():
    weighting = GradNormWeights(MultitaskConfig(gradnorm=GradNormConfig(alpha=0.0)), 3, 1.0)
    optimizer, slopes = torch.optim.SGD(weighting.parameters(), 2e-3), (6.0, 2.0, 3.0)
    for _ in range(200):
        observe(weighting, (1.0, 0.5, 2.0), slopes=slopes)
        optimizer.step()
        weighting.end_step()
        assert weighting.task_weights.sum().item() == pytest.approx(3, rel=1e-6)
    norms = weighting.task_weights.detach() * torch.tensor(slopes)
    assert norms.tolist() == pytest.approx([3.0] * 3, rel=0.04)  # 3 / (1/6 + 1/2 + 1/3)


def test_weights_stay_positive_after_a_large_step():
    weighting = GradNormWeights(MultitaskConfig(), 2, 1.0)
    with torch.no_grad():
        weighting.task_weights.copy_(torch.tensor([-5.0, 3.0]))
    weighting.end_step()
    assert weighting.task_weights.min() > 0
    assert weighting.task_weights.sum().item() == pytest.approx(2)


def test_given_weight_multiplies_only_the_auxiliary_terms():
    light, plain = (GradNormWeights(MultitaskConfig(), 2, weight) for weight in (0.1, 1.0))
    assert light([torch.tensor(2.0), torch.tensor(3.0)]).item() == pytest.approx(2.3)
    assert torch.equal(observe(light, (1.0, 1.0)), observe(plain, (1.0, 1.0)))


def test_loss_has_no_gradient_for_the_task_weights():
    weighting, shared = GradNormWeights(MultitaskConfig(), 2, 1.0), torch.zeros(1, requires_grad=True)
    weighting(make_losses(shared)).backward()
    assert weighting.task_weights.grad is None
    assert shared.grad.tolist() == [8.0]


def test_single_task_keeps_its_weight():
    weighting = GradNormWeights(MultitaskConfig(), 1, 1.0)
    assert observe(weighting, (1.0,), (0.3,), slopes=(6.0,)).tolist() == [0.0]


def test_task_without_a_loss_gives_finite_gradients():
    found = observe(GradNormWeights(MultitaskConfig(), 2, 1.0), (1.0, 0.0), (0.5, 0.0), slopes=(6.0, 0.0))
    assert found.isfinite().all()


def test_gradients_and_losses_are_means_over_ranks_before_norms(monkeypatch):
    """The other rank has the opposite gradient of the first task and the same losses."""

    def average(values):
        return values * torch.tensor([[0.0], [1.0]]) if values.ndim == 2 else values

    monkeypatch.setattr(gradnorm, "global_mean", average)
    assert observe(GradNormWeights(MultitaskConfig(), 2, 1.0), (1.0, 1.0)).tolist() == [0.0, 2.0]
