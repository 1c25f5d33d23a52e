import math

import pytest
import torch
from torch.nn import functional

from detaux.multitask.bilevel.focal import focal_loss


def draw(rows=6, classes=4):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    targets = torch.softmax(torch.randn(rows, classes, generator=generator, dtype=torch.float64), 1)
    return logits, targets


def test_focal_loss_equals_its_value_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64)  # p = 3/4, 1/4
    expected = 0.5 * (1 / 4) ** 2 * math.log(4 / 3) + 0.5 * (3 / 4) ** 2 * math.log(4)
    assert focal_loss(logits, torch.full((1, 2), 0.5), 2).item() == pytest.approx(expected, rel=1e-12)
    assert focal_loss(logits, torch.tensor([1]), 2).item() == pytest.approx(9 / 16 * math.log(4), rel=1e-12)


@pytest.mark.parametrize("gamma", [0, 1, 2, 3])
def test_focal_loss_matches_loop_version(gamma):
    logits, targets = draw()
    for row, weights, loss in zip(logits.tolist(), targets.tolist(), focal_loss(logits, targets, gamma), strict=True):
        total = sum(map(math.exp, row))
        p = [math.exp(value) / total for value in row]
        expected = -sum(q * (1 - one) ** gamma * math.log(one) for q, one in zip(weights, p, strict=True))
        assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_focal_loss_without_focus_is_the_cross_entropy():
    logits, targets = draw()
    torch.testing.assert_close(
        focal_loss(logits, targets, 0), functional.cross_entropy(logits, targets, reduction="none")
    )
    classes = targets.argmax(1)
    torch.testing.assert_close(
        focal_loss(logits, classes, 0), functional.cross_entropy(logits, classes, reduction="none")
    )


def test_focal_loss_of_a_class_equals_that_of_its_one_hot_label():
    logits, targets = draw()
    classes = targets.argmax(1)
    torch.testing.assert_close(focal_loss(logits, classes, 2), focal_loss(logits, functional.one_hot(classes, 4), 2))


@pytest.mark.parametrize("gamma", [0, 1, 2])
def test_focal_gradients_match_finite_differences(gamma):
    logits, targets = (values.requires_grad_() for values in draw())
    assert torch.autograd.gradcheck(lambda *both: focal_loss(*both, gamma), (logits, targets))
    assert torch.autograd.gradgradcheck(lambda *both: focal_loss(*both, gamma), (logits, targets))


@pytest.mark.parametrize("gamma", [0, 1, 2, 3])
def test_focal_derivatives_of_certain_logits_are_finite(gamma):
    logits = torch.tensor([[1000.0, 0.0], [-1000.0, 0.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), gamma).sum()
    (first,) = torch.autograd.grad(loss, logits, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), logits)
    assert torch.isfinite(torch.stack([first, second])).all()
