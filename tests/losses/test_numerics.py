import pytest
import torch

from detaux.losses.numerics import safe_sqrt, widen


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_widen_never_narrows(given, expected):
    assert widen(torch.ones(2, dtype=given)).dtype == expected


def test_safe_sqrt_equals_sqrt_to_the_bit():
    values = torch.tensor([0.0, 1e-300, 2.0, 1e300], dtype=torch.float64)
    assert torch.equal(safe_sqrt(values), values.sqrt())


def test_safe_sqrt_gradient_is_zero_at_zero_and_exact_elsewhere():
    values = torch.tensor([0.0, 4.0], dtype=torch.float64, requires_grad=True)
    safe_sqrt(values).sum().backward()
    assert values.grad.tolist() == [0.0, 0.25]
