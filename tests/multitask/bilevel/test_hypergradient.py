import json
from pathlib import Path

import pytest
import torch
from torch import nn

from detaux.multitask.bilevel.hypergradient import (
    average,
    build_exact_objective,
    build_first_order_objective,
    build_implicit_objective,
    write_gradients,
)

PROGRAM = Path(__file__).with_name("rank_hypergradient.py")
VIRTUAL = {"exact": build_exact_objective, "first_order": build_first_order_objective}
FORMS = ["exact", "first_order", "implicit"]


def scalar(value):
    return torch.tensor([value], dtype=torch.float64, requires_grad=True)


def differentiate(objective, auxiliary):
    return torch.autograd.grad(objective, auxiliary)[0]


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Problem:
    """A small network with float64 weights `theta`, trained on soft labels softmax(images @ phi), judged on a third output."""

    def __init__(self):
        self.images = draw(9, 4, seed=0)
        self.theta = [draw(4, 6, seed=1).requires_grad_(), draw(6, 5, seed=2).requires_grad_()]
        self.phi = draw(4, 3, seed=3).requires_grad_()

    def call(self, theta):
        return torch.tanh(self.images @ theta[0]) @ theta[1]

    def train_loss(self, theta, phi=None):
        phi = self.phi if phi is None else phi
        soft = torch.softmax(self.images @ phi, 1)
        return self.goal_loss(theta) - (soft * torch.log_softmax(self.call(theta)[:, :3], 1)).sum(1).mean()

    def goal_loss(self, theta):
        return (self.call(theta)[:, 2:] ** 2).mean()

    def descend(self, phi, lr):
        """The goal after a step of gradient descent."""
        theta = [value.detach().requires_grad_() for value in self.theta]
        steps = torch.autograd.grad(self.train_loss(theta, phi), theta)
        return self.goal_loss([value - lr * step for value, step in zip(theta, steps, strict=True)]).item()


def difference(function, point, size=1e-5):
    """The gradient of a function of a tensor, by central differences."""
    gradient = torch.zeros_like(point)
    for index in range(point.numel()):
        ends = []
        for sign in (1, -1):
            moved = point.detach().clone()
            moved.view(-1)[index] += sign * size
            ends.append(function(moved))
        gradient.view(-1)[index] = (ends[0] - ends[1]) / (2 * size)
    return gradient


@pytest.mark.parametrize("form", VIRTUAL)
def test_gradient_through_a_virtual_step_equals_its_value_by_hand(form):
    """Theta+ = 0.15: from 0, a tenth of the way to 1 and a tenth of that to phi = 0.5."""
    theta, phi = scalar(0.0), scalar(0.5)
    seen = []

    def goal_loss(weights):
        seen.append(weights[0].item())
        return ((weights[0] - 1) ** 2).sum() / 2

    def train_loss(weights):
        return ((weights[0] - 1) ** 2).sum() / 2 + ((weights[0] - phi) ** 2).sum() / 2

    gradient = differentiate(VIRTUAL[form](train_loss, goal_loss, [theta], 0.1), phi)
    assert seen[-1] == pytest.approx(0.15, rel=1e-12)
    assert gradient.item() == pytest.approx(-0.085, rel=1e-10)


def test_exact_gradient_matches_central_differences():
    problem = Problem()
    objective = build_exact_objective(problem.train_loss, problem.goal_loss, problem.theta, 0.3)
    expected = difference(lambda phi: problem.descend(phi, 0.3), problem.phi)
    found = differentiate(objective, problem.phi)
    assert ((found - expected).norm() / expected.norm()).item() < 1e-6


def test_first_order_gradient_points_where_the_exact_one_does():
    problem = Problem()
    exact, approximate = (
        differentiate(build(problem.train_loss, problem.goal_loss, problem.theta, 0.3), problem.phi).flatten()
        for build in VIRTUAL.values()
    )
    assert torch.cosine_similarity(exact, approximate, dim=0).item() > 0.99
    assert approximate.norm().item() == pytest.approx(exact.norm().item(), rel=1e-2)


def test_first_order_gradient_of_a_goal_that_is_reached_is_zero():
    phi = scalar(0.5)
    objective = build_first_order_objective(
        lambda weights: ((weights[0] - phi) ** 2).sum(), lambda weights: 0 * weights[0].sum(), [scalar(0.0)], 0.1
    )
    assert differentiate(objective, phi).item() == 0


@pytest.mark.parametrize(("terms", "scaled", "expected"), [(3, True, 0.1476), (3, False, 1.476), (400, True, 0.25)])
def test_implicit_gradient_equals_its_value_by_hand(terms, scaled, expected):
    """The minimum of w^2 - phi w is w = phi / 2, so the goal w^2 / 2 has the derivative phi / 4 = 0.25."""
    weight, phi = scalar(0.5), scalar(1.0)

    def train_loss(weights):
        return (weights[0] ** 2 - phi * weights[0]).sum()

    objective = build_implicit_objective(
        train_loss, lambda weights: (weights[0] ** 2).sum() / 2, [weight], 0.1, terms, scaled=scaled
    )
    assert differentiate(objective, phi).item() == pytest.approx(expected, rel=1e-12)


def test_long_series_equals_the_solution_of_a_random_quadratic():
    root, mixed, aim = draw(6, 6, seed=0), draw(6, 4, seed=1), draw(6, seed=2)
    hessian = root @ root.T + 0.1 * torch.eye(6, dtype=torch.float64)
    weight, phi = draw(6, seed=3).requires_grad_(), draw(4, seed=4).requires_grad_()

    def train_loss(weights):
        return weights[0] @ hessian @ weights[0] / 2 + weights[0] @ mixed @ phi

    objective = build_implicit_objective(
        train_loss, lambda weights: weights[0] @ aim, [weight], 1 / torch.linalg.eigvalsh(hessian)[-1].item(), 2000
    )
    expected = -mixed.T @ torch.linalg.solve(hessian, aim)
    torch.testing.assert_close(differentiate(objective, phi), expected, rtol=1e-10, atol=1e-10)


def test_series_without_terms_is_gradient_alignment():
    problem, lr = Problem(), 0.3
    objective = build_implicit_objective(problem.train_loss, problem.goal_loss, problem.theta, lr, 0)
    goal = torch.autograd.grad(problem.goal_loss(problem.theta), problem.theta)

    def align(phi):
        gradients = torch.autograd.grad(problem.train_loss(problem.theta, phi), problem.theta)
        return -lr * sum((one * other).sum().item() for one, other in zip(gradients, goal, strict=True))

    torch.testing.assert_close(
        differentiate(objective, problem.phi), difference(align, problem.phi), rtol=1e-6, atol=1e-9
    )


def test_series_multiplies_by_the_hessian_that_central_differences_give():
    problem, lr = Problem(), 0.3

    def gradient(flat):
        theta = unflatten(flat, problem.theta)
        return flatten(torch.autograd.grad(problem.train_loss(theta), theta)).detach()

    point = flatten(problem.theta).detach()
    rows = []
    for index in range(len(point)):
        ends = [gradient(point + sign * 1e-5 * torch.eye(len(point))[index].double()) for sign in (1, -1)]
        rows.append((ends[0] - ends[1]) / 2e-5)
    hessian = torch.stack(rows)
    power = flatten(torch.autograd.grad(problem.goal_loss(problem.theta), problem.theta))
    total = power.clone()
    for _ in range(2):
        power = power - lr * hessian @ power
        total = total + power

    def align(phi):
        theta = problem.theta
        return (-lr * flatten(torch.autograd.grad(problem.train_loss(theta, phi), theta)) @ total).item()

    objective = build_implicit_objective(problem.train_loss, problem.goal_loss, problem.theta, lr, 2)
    torch.testing.assert_close(
        differentiate(objective, problem.phi), difference(align, problem.phi), rtol=1e-6, atol=1e-8
    )


def flatten(values):
    return torch.cat([value.reshape(-1) for value in values])


def unflatten(flat, like):
    parts = flat.split([value.numel() for value in like])
    return [part.view(value.shape).detach().requires_grad_() for part, value in zip(parts, like, strict=True)]


def test_implicit_gradient_follows_the_minimum_of_a_regression():
    """Logistic regression with a ridge is trained to its minimum again for each end of the difference."""
    images, goal = draw(12, 3, seed=0), torch.sigmoid(2 * draw(12, seed=1))
    phi = draw(3, seed=2).requires_grad_()

    def train_loss(weights, phi=phi):
        labels = torch.sigmoid(images @ phi)
        return (
            nn.functional.binary_cross_entropy_with_logits(images @ weights[0], labels) + (weights[0] ** 2).sum() / 20
        )

    def goal_loss(weights):
        return nn.functional.binary_cross_entropy_with_logits(images @ weights[0], goal)

    def train(phi):
        weight = torch.zeros(3, dtype=torch.float64)
        for _ in range(20):  # Newton's steps
            (step,) = torch.autograd.grad(train_loss([leaf := weight.clone().requires_grad_()], phi), leaf)
            curve = torch.autograd.functional.hessian(lambda value: train_loss([value], phi), weight)
            weight = weight - torch.linalg.solve(curve, step)
        return weight

    weight = train(phi.detach()).requires_grad_()
    objective = build_implicit_objective(train_loss, goal_loss, [weight], 1.0, 300)
    expected = difference(lambda phi: goal_loss([train(phi)]).item(), phi)
    torch.testing.assert_close(differentiate(objective, phi), expected, rtol=1e-6, atol=1e-9)


def test_parameters_and_weights_without_influence_get_zeros():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    weights = [torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True)]

    def train_loss(theta):
        return (used * theta[0] ** 2).sum()

    for build in (build_exact_objective, build_first_order_objective):
        write_gradients(build(train_loss, lambda theta: theta[0].sum(), weights, 0.1), [used, unused])
        assert unused.grad.tolist() == [0.0, 0.0, 0.0]
        assert used.grad.abs().min() > 0
    objective = build_implicit_objective(train_loss, lambda theta: theta[0].sum() + theta[1].sum(), weights, 0.1, 2)
    write_gradients(objective, [used, unused])
    assert unused.grad.tolist() == [0.0, 0.0, 0.0]
    assert used.grad.abs().min() > 0


def test_gradients_replace_those_that_are_there():
    parameter = nn.Parameter(torch.tensor([3.0]))
    for _ in range(2):
        write_gradients((parameter**2).sum(), [parameter])
    assert parameter.grad.tolist() == [6.0]


def test_average_keeps_shapes():
    values = [torch.arange(6.0).view(2, 3), torch.tensor(7.0), torch.empty(0, 2)]
    for found, value in zip(average(values), values, strict=True):
        assert torch.equal(found, value)


@pytest.fixture(scope="module")
def gradients(start_ranks_for_module):
    """What rank_hypergradient.py prints on one process and on two ranks."""
    found = []
    for ranks in (1, 2):
        processes = start_ranks_for_module(ranks, PROGRAM)
        outputs = [process.communicate(timeout=180)[0] for process in processes]
        assert [process.returncode for process in processes] == [0] * ranks, outputs
        found.append(json.loads(outputs[0].splitlines()[-1]))
    return found


@pytest.mark.parametrize("form", FORMS)
def test_gradient_of_two_ranks_equals_that_of_one(gradients, form):
    one, two = (found[form]["None"] for found in gradients)
    assert two == pytest.approx(one, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("form", FORMS)
def test_gradient_with_a_reduction_left_out_is_another(gradients, form):
    one, two = (found[form] for found in gradients)
    assert two.keys() >= {"naive", "0", "1", "2"}
    largest = max(map(abs, one["None"]))
    for broken in two.keys() - {"None"}:
        assert one[broken] == one["None"]
        assert two[broken] != pytest.approx(one["None"], abs=1e-3 * largest), broken
