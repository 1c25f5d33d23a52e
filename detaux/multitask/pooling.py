"""Pool the lines of several seeds of discovery: their mean, and its interval over these seeds."""

from collections import defaultdict
from typing import Any

import numpy as np

from detaux.config.variants import DISCOVERED, POOLED, SEEDED
from detaux.multitask.statistics import SELECTED, compute_interval
from detaux.multitask.trial import COSTS

Line = dict[str, Any]


def pool_seeds(summary: list[Line]) -> list[Line]:
    """Make one line per (method, weight, split) from those of the run's own discovery and of its other seeds.

    A seed of discovery counts once: its value is the mean over training seeds. So the intervals are those over seeds of
    discovery, and `seeds` is their number. There is no p, because all gains are measured from the same STL trainings.
    """
    groups: dict[tuple[str, float, str], list[Line]] = defaultdict(list)
    for line in summary:
        if line["method"] != SELECTED and (line["labels"] == DISCOVERED or line["labels"].startswith(SEEDED)):
            groups[line["method"], line["weight"], line["split"]].append(line)
    return [_pool(lines) for lines in groups.values() if any(line["labels"] != DISCOVERED for line in lines)]


def _pool(lines: list[Line]) -> Line:
    pooled = {**lines[0], "kind": "variant", "labels": POOLED, "seeds": len(lines), "gain_p": None}
    for name in ("accuracy", "gain"):
        ends = compute_interval([line[f"{name}_mean"] for line in lines])
        pooled |= zip((f"{name}_mean", f"{name}_low", f"{name}_high"), ends, strict=True)
    return pooled | {cost: float(np.mean([line[cost] for line in lines])) for cost in COSTS}
