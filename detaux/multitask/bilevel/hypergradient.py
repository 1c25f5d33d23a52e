"""Differentiate a goal by auxiliary parameters phi that act on it only through the training of the weights theta.

Each `build_...` function returns a scalar of this rank. The mean over ranks of its gradient in phi is the
hyper-gradient, so a term that depends on phi only can be added to it before `write_gradients`. Losses are functions of
theta, a list of leaf tensors; their mean over ranks is the loss of the whole batch. What the ranks must agree on is
reduced here: a rank that differentiated a step of its own would get another gradient.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from detaux.runtime.collectives import global_mean

Loss = Callable[[list[Tensor]], Tensor]
DIFFERENCE = 0.01  # length of the step of the finite difference


def build_exact_objective(train_loss: Loss, goal_loss: Loss, weights: list[Tensor], lr: float) -> Tensor:
    """Follow goal_loss(theta+) through the virtual step theta+ = theta - lr grad train_loss(theta), exactly.

    The scalar is -lr <g, v>, with g = grad train_loss(theta), which depends on phi, and v = grad goal_loss(theta+).
    Source: Liu et al., Self-Supervised Generalisation with Meta Auxiliary Learning, NeurIPS 2019, equation 3.
    """
    gradients = torch.autograd.grad(train_loss(weights), weights, create_graph=True, materialize_grads=True)
    direction = _differentiate_after_step(goal_loss, weights, gradients, lr)
    return -lr * _multiply(gradients, direction)


def build_first_order_objective(train_loss: Loss, goal_loss: Loss, weights: list[Tensor], lr: float) -> Tensor:
    """Approximate `build_exact_objective` by a central difference, without second derivatives.

    The scalar is -lr (train_loss(theta + e v) - train_loss(theta - e v)) / 2e, with e = 0.01 / |v|. Source: as above,
    and Liu et al., DARTS, ICLR 2019, equation 8.
    """
    gradients = torch.autograd.grad(train_loss(weights), weights, materialize_grads=True)
    direction = _differentiate_after_step(goal_loss, weights, gradients, lr)
    norm = torch.stack([value.square().sum() for value in direction]).sum().sqrt()
    size = DIFFERENCE / norm.clamp_min(torch.finfo(norm.dtype).tiny ** 0.5)
    above, below = (
        train_loss([weight.detach() + sign * size * value for weight, value in zip(weights, direction, strict=True)])
        for sign in (1, -1)
    )
    return -lr * (above - below) / (2 * size)


def build_implicit_objective(
    train_loss: Loss, goal_loss: Loss, weights: list[Tensor], lr: float, terms: int, *, scaled: bool = True
) -> Tensor:
    """Follow goal_loss(theta*) through the minimum theta* of train_loss, by the implicit function theorem.

    With H the Hessian of train_loss, the inverse is a truncated Neumann series: lr sum_{j=0}^{terms} (I - lr H)^j. The
    scalar is -lr <g, p>, with g = grad train_loss and p that sum times grad goal_loss. It converges if lr is below 2 /
    the largest eigenvalue of H. If `scaled` is false, the factor lr is left out, as in the released code. Source: Navon
    et al., Auxiliary Learning by Implicit Differentiation, ICLR 2021, equation 5; Lorraine et al., AISTATS 2020.
    """
    power = average(torch.autograd.grad(goal_loss(weights), weights, materialize_grads=True))
    gradients = torch.autograd.grad(train_loss(weights), weights, create_graph=True, materialize_grads=True)
    total = power
    for _ in range(terms):
        product = _multiply(gradients, power)
        curved = average(torch.autograd.grad(product, weights, retain_graph=True, materialize_grads=True))
        power = [value - lr * bend for value, bend in zip(power, curved, strict=True)]
        total = [one + other for one, other in zip(total, power, strict=True)]
    return -(lr if scaled else 1.0) * _multiply(gradients, total)


def write_gradients(objective: Tensor, parameters: list[nn.Parameter]) -> None:
    """Write the gradient of an objective, averaged over the ranks, to the parameters, in place of any that is there."""
    gradients = average(torch.autograd.grad(objective, parameters, materialize_grads=True))
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def average(values: Sequence[Tensor]) -> list[Tensor]:
    """Average tensors over the ranks, in one reduction. No gradient flows through."""
    flat = global_mean(torch.cat([value.detach().reshape(-1) for value in values]))
    parts = flat.split([value.numel() for value in values])
    return [part.view(value.shape) for part, value in zip(parts, values, strict=True)]


def _differentiate_after_step(
    goal_loss: Loss, weights: list[Tensor], gradients: Sequence[Tensor], lr: float
) -> list[Tensor]:
    """Return the gradient of the goal at the weights that a step of gradient descent on all ranks would give."""
    steps = average(gradients)
    moved = [(weight.detach() - lr * step).requires_grad_() for weight, step in zip(weights, steps, strict=True)]
    return average(torch.autograd.grad(goal_loss(moved), moved, materialize_grads=True))


def _multiply(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    return torch.stack([(one * other).sum() for one, other in zip(first, second, strict=True)]).sum()
