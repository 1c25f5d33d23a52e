"""Declare the keys of `detaux sweep`: which other keys vary, what judges a trial, and how many trials run."""

from dataclasses import dataclass
from typing import Any, Literal

from detaux.config.key import key


@dataclass(frozen=True)
class SweepConfig:
    space: Any = key(
        None,
        "mapping from a key to {uniform: [low, high]}, {log: [low, high]}, {integer: [low, high]} or {choice: [...]}, "
        "with `when: {other key: value}` if it varies only then, and `unit: text`",
    )
    trials: int = key(12, "trainings", 1, 100_000)
    objective: Literal["discovery", "downstream", "independence", "stability", "known_factor"] = key(
        "discovery",
        "score that judges a trial. discovery: separation x (1 - NMI with the principal label) of the best candidate; "
        "downstream: validation accuracy gained over training on the principal task only; independence: 1 - NMI of the "
        "chosen clusters with the principal label; stability: of the chosen clusters; known_factor: V-measure with the "
        "hidden factor that they match best, for studies only, since it uses ground truth",
    )
    tradeoffs: list[str] = key(
        [],
        "further objectives; the report shows the trials that no other trial beats in all objectives. ASHA stops trials "
        "only by sweep.objective",
        choices=("discovery", "downstream", "independence", "stability", "known_factor"),
    )
    searcher: Literal["tpe", "random"] = key("tpe", "source of the values: Optuna's TPE, or random draws")
    scheduler: Literal["asha", "none"] = key("asha", "what stops a trial early: ASHA at its rungs, or nothing")
    first_rung: int = key(
        500, "asha: steps of the main phase after which trials are first compared; further rungs at x reduction each", 1
    )
    reduction: int = key(3, "asha: one trial in this many continues past a rung", 2, 100)
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
        1,
        "times that a trial resumes from its checkpoint after an error before it counts as failed",
        0,
        100,
        neutral=True,
    )
    share_warmups: bool = key(
        True,
        "train one warm-up for all trials with keys that give it the same weights; false: each trial trains its own",
        neutral=True,
    )
