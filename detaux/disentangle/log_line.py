"""Build a line of metrics.jsonl from the means over its steps and facts about the training."""

from dataclasses import dataclass
from typing import Any

RENAMED = {  # parts that are not logged as loss/NAME
    "oracle_share": "oracle/share",
    "grad_norm": "grad_norm",
    "pairs/different_share": "pairs/different_share",
    "pairs/one_factor_share": "pairs/one_factor_share",
}


@dataclass(frozen=True)
class LineFacts:
    """Hold what a line reports besides the means: the progress of the training, and its speed since the last line.

    step and steps count over both phases. images, data_seconds and seconds count since the last line. data_seconds is
    the longest time that a rank waited for its batches.
    """

    step: int
    steps: int
    phase: str
    uses_ground_truth: bool
    progress: float
    betas: tuple[float, float, float]
    lr: float
    images: int
    data_seconds: float
    memory_bytes: int
    seconds: float


def build_line(means: dict[str, Any], facts: LineFacts) -> dict[str, Any]:
    """Return the line of metrics.jsonl: the facts, and the means under their keys."""
    means = dict(means)
    if "pairs/one_factor_share" in means:  # becomes the share among the pairs with equal labels
        equal = 1 - means["pairs/different_share"]
        means["pairs/one_factor_share"] = means["pairs/one_factor_share"] / equal if equal else None
    return {
        "step": facts.step,
        "steps": facts.steps,
        "phase": facts.phase,
        "uses_ground_truth": facts.uses_ground_truth,
        "progress": facts.progress,
        **{RENAMED.get(part, f"loss/{part}"): value for part, value in means.items()},
        **{f"beta/{index}": beta for index, beta in enumerate(facts.betas, start=1)},
        "lr": facts.lr,
        "samples_per_second": facts.images / facts.seconds,
        "data_wait_share": facts.data_seconds / facts.seconds,
        "memory_bytes": facts.memory_bytes,
        "seconds": facts.seconds,
    }
