"""Declare the keys of `detaux sweep`: which other keys vary, what judges a trial, and how many trials run."""

from dataclasses import dataclass
from typing import Any, Literal

from detaux.config.key import key


@dataclass(frozen=True)
class SweepConfig:
    space: Any = key(
        None,
        "mapping from a key to {uniform: [low, high]}, {log: [low, high]}, {integer: [low, high]} or {choice: [...]}, "
        "with `when: {other key: value}` where it only then varies, and `unit: text`",
    )
    trials: int = key(12, "trainings", 1, 100_000)
    objective: Literal["discovery", "downstream", "independence", "stability", "known_factor"] = key(
        "discovery",
        "what is best. discovery: separation x (1 - NMI with the principal label) of the best candidate; downstream: "
        "validation accuracy gained over the principal task alone; independence: 1 - that NMI; stability of the chosen "
        "clusters; known_factor: V with one, for studies only, since it uses ground truth",
    )
    tradeoffs: list[str] = key(
        [],
        "objectives searched for beside the first; the report shows the trials that no other beats in all. ASHA stops by the "
        "first alone",
        choices=("discovery", "downstream", "independence", "stability", "known_factor"),
    )
    searcher: Literal["tpe", "random"] = key("tpe", "what proposes values: Optuna's TPE, or chance")
    scheduler: Literal["asha", "none"] = key("asha", "what stops a trial early: ASHA at its rungs, or nothing")
    first_rung: int = key(
        500, "asha: steps of the main phase after which trials are first compared; further rungs at x reduction each", 1
    )
    reduction: int = key(3, "asha: one trial in so many goes on beyond a rung", 2, 100)
    concurrent: int = key(2, "trials at a time", 1, 10_000, neutral=True)
    ranks: int = key(
        1, "processes that train a trial together, on one machine or several of the cluster", 1, 1024, neutral=True
    )
    cpus: float = key(1.0, "CPUs of a rank", 0.0, 1024.0, neutral=True)
    gpus: float = key(
        0.0,
        "GPUs of a rank; 0 trains on the CPU, and a trial of one rank may share a GPU by a fraction",
        0.0,
        64.0,
        neutral=True,
    )
    retries: int = key(
        1, "times a trial that failed goes on from its checkpoint before it is marked as failed", 0, 100, neutral=True
    )
    share_warmups: bool = key(
        True,
        "train a warm-up once for all trials whose keys give it the same weights; false: each trains its own",
        neutral=True,
    )
