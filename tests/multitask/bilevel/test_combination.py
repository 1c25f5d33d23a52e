import pytest
import torch

from detaux.multitask.bilevel.combination import LinearCombination, NonlinearCombination

BUILDERS = [lambda: LinearCombination(3), lambda: NonlinearCombination(3, [10, 10], 0.2)]


def test_linear_combination_starts_as_the_sum_with_the_principal_loss_twice():
    losses = torch.tensor([[1.0, 2.0, 3.0], [0.5, 0.0, 0.0]])
    combination = LinearCombination(3)
    assert combination(losses).tolist() == [7.0, 1.0]
    with torch.no_grad():
        combination.factors.copy_(torch.tensor([0.0, 0.5, 2.0]))
    assert combination(losses).tolist() == [8.0, 0.5]


def test_nonlinear_combination_matches_loop_version():
    torch.manual_seed(0)
    combination = NonlinearCombination(2, [3, 2], 0.2).double()
    with torch.no_grad():
        combination.layers[0].bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    losses = torch.tensor([0.7, 1.9], dtype=torch.float64)
    values = losses
    for index in (0, 2):
        layer = combination.layers[index]
        values = torch.log1p(torch.exp(layer.weight @ values + layer.bias))
    expected = losses[0] + (combination.layers[4].weight @ values)[0]
    assert combination(losses[None]).item() == pytest.approx(expected.item(), rel=1e-12)
    assert combination.layers[4].bias is None


def test_nonlinear_weights_start_small_and_positive():
    combination = NonlinearCombination(2, [10, 10], 0.2)
    for index in (0, 2, 4):
        weight = combination.layers[index].weight
        assert weight.min() >= 0
        assert 0.1 < weight.max() <= 0.2
    assert [combination.layers[index].bias.abs().max().item() for index in (0, 2)] == [0.0, 0.0]


@pytest.mark.parametrize("build", BUILDERS)
def test_combination_with_clamped_weights_never_falls_if_a_loss_rises(build):
    torch.manual_seed(0)
    combination = build()
    with torch.no_grad():
        for parameter in combination.parameters():
            parameter.normal_()
    losses = (3 * torch.rand(50, 3)).requires_grad_()
    (before,) = torch.autograd.grad(combination(losses).sum(), losses)
    combination.clamp()
    (after,) = torch.autograd.grad(combination(losses).sum(), losses)
    assert before.min() < 0 <= after.min()
    assert after[:, 0].min() >= 1
    weights = [value for name, value in combination.named_parameters() if not name.endswith("bias")]
    assert all(bool((weight >= 0).all()) for weight in weights)
