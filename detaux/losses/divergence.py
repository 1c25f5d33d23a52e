"""Compute the divergence of a conditional code from independent normal numbers (Kingma and Welling, ICLR 2014).

N images, F free dimensions of the code.
"""

from torch import Tensor

from detaux.losses.numerics import widen


def divergence_loss(means_NF: Tensor, log_variance_F: Tensor) -> Tensor:
    """Compute how much the code of an image tells, in nats: its divergence from N(0, 1).

    It takes from the code what the decoder does not need, above all what the label says already.

    Equation:  mean over N of 1/2 sum over F of (mu^2 + sigma^2 - log sigma^2 - 1), Kingma and Welling, appendix B.
    Inputs:    means_NF  [N, F] float, any dtype, computed in float32 or wider.  log_variance_F  [F], log sigma^2.
    Output:    scalar.
    Gradient:  to both.
    Batch statistics: none (per image).
    Departs:   one variance for all images (Kingma and Welling: one for each image).
    Checked:   tests/losses/test_divergence.py.
    """
    means_NF, log_variance_F = widen(means_NF), widen(log_variance_F)
    return 0.5 * (means_NF.square() + log_variance_F.exp() - log_variance_F - 1).sum(1).mean()
