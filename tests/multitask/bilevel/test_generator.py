import math

import pytest
import torch
from torch import nn

from detaux.multitask.bilevel.generator import (
    LabelGenerator,
    average_labels,
    compute_negative_entropy,
    masked_softmax,
)

LOGITS = torch.tensor([[0.3, -0.2, 1.0, 2.0, -1.0]], dtype=torch.float64)


class Fixed(nn.Module):
    """A network that answers with given logits."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, images):
        return [self.logits.expand(len(images), -1)]


def generate(logits, slots, classes):
    return LabelGenerator(Fixed(logits), slots)(torch.zeros(len(classes), 3, 1, 1), torch.tensor(classes))


def test_labels_lie_in_the_slots_of_the_own_class():
    first, second = generate(LOGITS, [2, 3], [0, 1])
    assert second[:2].tolist() == [0.0, 0.0]
    total = math.exp(1.0) + math.exp(2.0) + math.exp(-1.0)
    assert second[2:].tolist() == pytest.approx([math.exp(value) / total for value in (1.0, 2.0, -1.0)], rel=1e-12)
    assert first[2:].tolist() == [0.0, 0.0, 0.0]
    assert first[:2].sum().item() == pytest.approx(1, rel=1e-12)


def test_labels_do_not_change_with_a_shift_of_all_logits():
    shifted, plain = (generate(LOGITS + shift, [2, 3], [1, 0, 1]) for shift in (1000.0, 0.0))
    torch.testing.assert_close(shifted, plain, rtol=1e-12, atol=0)


def test_class_with_one_slot_gets_a_hard_label():
    assert generate(LOGITS, [1, 4], [0]).tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0]]


def test_gradient_of_labels_matches_finite_differences_and_is_zero_in_other_slots():
    mask = torch.tensor([[False, False, True, True, True]])
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda values: masked_softmax(values, mask), logits)
    masked_softmax(logits, mask)[0, 3].backward()
    assert logits.grad[0, :2].tolist() == [0.0, 0.0]
    assert logits.grad[0, 2:].abs().min() > 0


def test_entropy_of_even_use_is_that_of_all_slots():
    usage = torch.full((7,), 1 / 7, dtype=torch.float64)
    assert compute_negative_entropy(usage).item() == pytest.approx(-math.log(7), rel=1e-12)
    assert compute_negative_entropy(torch.tensor([0.75, 0.25])).item() == pytest.approx(
        0.75 * math.log(0.75) + 0.25 * math.log(0.25), rel=1e-6
    )


def test_entropy_gradient_is_finite_where_a_class_is_not_in_the_batch():
    logits = LOGITS.clone().requires_grad_()
    soft = masked_softmax(logits, torch.tensor([[False, False, True, True, True]]))
    (gradient,) = torch.autograd.grad(compute_negative_entropy(average_labels(soft, 1)), logits)
    assert torch.isfinite(gradient).all()
    assert torch.autograd.gradcheck(
        lambda values: compute_negative_entropy(
            masked_softmax(values, torch.tensor([[False, False, True, True, True]]))[0]
        ),
        logits,
    )


def test_mean_label_is_that_of_the_whole_batch():
    soft = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert average_labels(soft, 4).tolist() == [0.375, 0.125]  # two of the four images of a rank's share
