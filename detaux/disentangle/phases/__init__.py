"""The phases of training, in their order; each is one object that answers what the trainer asks."""

from detaux.disentangle.phases.base import MicroBatch, Phase
from detaux.disentangle.phases.main import MainPhase
from detaux.disentangle.phases.warmup import WarmupPhase

PHASES: tuple[type[Phase], ...] = (WarmupPhase, MainPhase)

__all__ = ["PHASES", "MainPhase", "MicroBatch", "Phase", "WarmupPhase"]
