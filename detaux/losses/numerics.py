"""Arithmetic shared by the losses: never below float32, and a square root that can be differentiated at 0."""

import torch
from torch import Tensor


def widen(values: Tensor) -> Tensor:
    """The same values in float32, or in float64 where they already are: sums of squares overflow or round in less."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def safe_sqrt(squared: Tensor) -> Tensor:
    """Square root, exact everywhere, with gradient 0 at 0 where the true one is infinite and would become NaN."""
    is_zero = squared == 0
    return squared.masked_fill(is_zero, 1.0).sqrt().masked_fill(is_zero, 0.0)
