"""Declare the keys of the mirrors of metrics.jsonl."""

from dataclasses import dataclass
from typing import Literal

from detaux.config.key import key


@dataclass(frozen=True)
class TrackConfig:
    wandb: Literal["off", "auto", "online", "offline"] = key(
        "off",
        "Weights & Biases as a mirror of metrics.jsonl; offline leaves files for `wandb sync`; auto: online if there is a "
        "W&B key, else offline",
        neutral=True,
    )
    tensorboard: bool = key(False, "TensorBoard event files as a mirror of metrics.jsonl", neutral=True)
    project: str = key("detaux", "W&B project", neutral=True)
    group: str | None = key(
        None,
        "W&B group that the stages of a run share, or all trials of a sweep; null: the name of run.dir",
        neutral=True,
    )
