"""Declare the keys that every stage reads: the folder of a run, its seed and its device."""

from dataclasses import dataclass
from typing import Literal

from detaux.config.key import key


@dataclass(frozen=True)
class RunConfig:
    dir: str = key("runs/default", "folder that holds everything this run writes", neutral=True)
    seed: int = key(0, "seed of every random draw", 0, 2**31 - 1)
    device: Literal["auto", "cpu", "cuda"] = key("auto", "device of the tensors; auto takes a GPU if there is one")
    threads: int = key(0, "CPU threads of torch; 0 leaves torch's own choice", 0, 1024)
