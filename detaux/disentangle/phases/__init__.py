"""List the phases of training in order. A phase object gives the trainer its batches, loss and settings."""

from detaux.disentangle.phases.base import MicroBatch, Phase
from detaux.disentangle.phases.main import MainPhase
from detaux.disentangle.phases.warmup import WarmupPhase

PHASES: tuple[type[Phase], ...] = (WarmupPhase, MainPhase)

__all__ = ["PHASES", "MainPhase", "MicroBatch", "Phase", "WarmupPhase"]
