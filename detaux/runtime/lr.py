"""Compute the learning-rate curve of every training: a linear ramp, a plateau, and a decay."""

import math

from detaux.config.schema import PhaseConfig


def compute_decay(shape: str, done: float, total: float = 1.0) -> float:
    """Return the fraction of the peak that is left after `done` of `total`: from 1 to 0, linearly or along a cosine.

    shape  "none" (stays 1), "linear" or "cosine".
    """
    if shape == "linear":
        return 1 - done / total
    return 0.5 * (1 + math.cos(math.pi * done / total)) if shape == "cosine" else 1.0


def compute_lr(phase: PhaseConfig, step: int) -> float:
    """Return a step's learning rate: linear ramp, plateau, then decay to `final_lr_fraction` of the peak."""
    ramp = min(1.0, (step + 1) / phase.ramp_steps) if phase.ramp_steps else 1.0
    begin = phase.steps * (1 - phase.decay_fraction)
    done = max(0.0, (step - begin) / max(1.0, phase.steps - begin))
    floor = phase.final_lr_fraction
    return phase.lr * ramp * (floor + (1 - floor) * compute_decay(phase.decay, done))
