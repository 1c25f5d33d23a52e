"""Compute the reconstruction loss (paper, Eq. 5 and 6), so that the sum of subspaces decodes to the image."""

from typing import Literal, assert_never

from torch import Tensor

from detaux.losses.numerics import widen


def reconstruction_loss(images: Tensor, reconstructions: Tensor, form: Literal["sum", "mean"]) -> Tensor:
    """Compute the squared error between images and their reconstructions from the summed subspaces.

    Equation:  Detaux (Skenderi et al., ICIAP 2025), Eq. (5) and (6).
    Inputs:    images, reconstructions  [N, ...] float of one shape, any dtype, computed in float32 or wider.
    Output:    scalar: form sum adds up an image and averages over N (paper), mean averages over all values (official).
    Gradient:  to both.
    Batch statistics: none (per image).
    Departs:   mean divides Eq. (5) by the number of values in an image.
    Checked:   tests/losses/test_reconstruction.py.
    """
    squared = (widen(images) - widen(reconstructions)).square()
    if form == "sum":
        return squared.sum() / len(images)
    if form == "mean":
        return squared.mean()
    assert_never(form)
