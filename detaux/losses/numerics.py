"""Provide the arithmetic of the losses: never below float32, and a square root that is differentiable at 0."""

import torch
from torch import Tensor


def widen(values: Tensor) -> Tensor:
    """Convert values to float32, unless they are float64: sums of squares overflow or round in smaller types."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def safe_sqrt(squared: Tensor) -> Tensor:
    """Compute the exact square root, with gradient 0 at 0, because the true one is infinite and would become NaN."""
    is_zero = squared == 0
    return squared.masked_fill(is_zero, 1.0).sqrt().masked_fill(is_zero, 0.0)
