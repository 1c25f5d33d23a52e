"""Declare the keys of the engine, which shares a training step among ranks."""

from dataclasses import dataclass
from typing import Literal

from detaux.config.key import key


@dataclass(frozen=True)
class EngineConfig:
    name: Literal["auto", "single", "ddp", "deepspeed"] = key(
        "auto",
        "how ranks share a step; auto: single for one rank, ddp for several that a launcher started",
        neutral=True,
    )
    deepspeed: str | None = key(
        None,
        "deepspeed: JSON file of its own settings, such as launch/deepspeed.json; null: ZeRO stage 1",
        neutral=True,
    )
