"""Declare the keys of disentangling: its two phases, the optimiser and the checkpoints."""

from dataclasses import dataclass, field
from typing import Literal

from detaux.config.key import key


@dataclass(frozen=True)
class PhaseConfig:
    steps: int = key(2500, "optimiser steps; 0 leaves the phase out", 0)
    batch_size: int = key(32, "images a step (warm-up) or pairs a step (main phase)", 1)
    lr: float = key(2e-3, "peak learning rate", 0.0)
    ramp_steps: int = key(50, "steps of linear learning-rate ramp at the start", 0)
    decay: Literal["none", "linear", "cosine"] = key("linear", "shape of the learning-rate decay")
    decay_fraction: float = key(0.1, "share of the steps, at the end, over which the rate decays", 0.0, 1.0)
    final_lr_fraction: float = key(0.0, "learning rate at the end as a share of the peak", 0.0, 1.0)


@dataclass(frozen=True)
class DisentangleConfig:
    warmup: PhaseConfig = field(
        default_factory=lambda: PhaseConfig(
            steps=3000, batch_size=64, lr=4e-3, decay="cosine", decay_fraction=1.0, final_lr_fraction=0.1
        ),
        metadata={"meaning": "reconstruction only"},
    )
    main: PhaseConfig = field(default_factory=PhaseConfig, metadata={"meaning": "all terms"})
    hard_fraction: float = key(
        0.0,
        "share of each batch of a conditional model's warm-up drawn from hard images, which a small network misclassifies "
        "if it was trained on the other images; 0.5 is for a factor that follows the label in nearly all images",
        0.0,
        1.0,
    )
    optimizer: Literal["adamw", "adam"] = key("adamw", "optimiser (paper: adamw; official code: adam)")
    weight_decay: float = key(0.01, "weight decay", 0.0)
    micro_batches: int = key(
        1,
        "parts of a step's batch that are computed one after the other; batch statistics are over one part",
        1,
        1024,
    )
    clip: float = key(1.0, "largest gradient norm; 0 clips nothing", 0.0)
    precision: Literal["fp32", "bf16"] = key("fp32", "arithmetic of the networks; losses are always fp32")
    compile: bool = key(
        False, "run each step's forward pass and losses by torch.compile; the first step takes a minute", neutral=True
    )
    log_interval: int = key(100, "steps between two lines of metrics.jsonl", 1, neutral=True)
    checkpoint_interval: int = key(500, "steps between two checkpoints", 1, neutral=True)
    keep_checkpoints: int = key(2, "checkpoints kept", 1, neutral=True)

    @property
    def longer(self) -> str:
        """Return the key that makes training longer: the steps of the last phase that has any."""
        return f"disentangle.{'main' if self.main.steps else 'warmup'}.steps"
