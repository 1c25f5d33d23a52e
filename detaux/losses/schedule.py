"""Compute the curves of the betas (paper, Eq. 2). Shapes and constants 25, 0.4 and 0.5 are from the official code."""

import math
from typing import Literal, assert_never

from detaux.config.schema import ScheduleConfig


def compute_beta(progress: float, *, rate: float, middle: float, shape: Literal["rise", "fall", "constant"]) -> float:
    """Compute a beta at progress t in [0, 1]: rise = min(exp(rate (t - middle)), 1), fall = 1 - rise, constant = 1."""
    rise = math.exp(min(0.0, rate * (progress - middle)))
    if shape == "rise":
        return rise
    if shape == "fall":
        return 1 - rise
    if shape == "constant":
        return 1.0
    assert_never(shape)


def compute_betas(progress: float, config: ScheduleConfig) -> tuple[float, float, float]:
    """Compute beta1 (distance, sparsity), beta2 (consistency) and beta3 (regularization).

    progress is the share of all training done, in [0, 1]. Until config.warmup_fraction all betas are 0, because the
    warm-up trains only reconstruction.
    """
    if progress < config.warmup_fraction:
        return 0.0, 0.0, 0.0
    beta1, beta2, beta3 = (
        compute_beta(progress, rate=curve.rate, middle=curve.middle, shape=curve.shape)
        for curve in (config.beta1, config.beta2, config.beta3)
    )
    return beta1, beta2, beta3
