"""Detect a collapsed oracle: it gives nearly every pair to one free subspace, so that the others learn little."""

from typing import Any

COLLAPSED_SHARE = 0.95  # healthy trainings of the presets stay below 0.4, and below 0.3 with the demo's ten subspaces
LEAST_PAIRS = 500  # with fewer pairs, one of two subspaces may get that share by chance


def find_collapse(share: list[float], alpha: int) -> int | None:
    """Return the free subspace that has at least COLLAPSED_SHARE of what the oracle gives to all free ones.

    All subspaces but alpha are free. Return None if there is no such subspace, or if only one is free.
    """
    free = {index: value for index, value in enumerate(share) if index != alpha}
    if len(free) < 2 or sum(free.values()) == 0:
        return None
    largest = max(free, key=lambda index: free[index])
    return largest if free[largest] >= COLLAPSED_SHARE * sum(free.values()) else None


def warn_of_collapse(line: dict[str, Any], alpha: int, pairs: int) -> dict[str, str]:
    """Return {"warning": a sentence} if the oracle has collapsed in a line of metrics.jsonl, else {}.

    `pairs` is the number of pairs since the previous line. A line is not judged if it has fewer than LEAST_PAIRS pairs,
    or if beta 1 has not yet risen to 1, because the subspaces divide the factors among them while it rises.
    """
    share = line.get("oracle/share")
    if share is None or pairs < LEAST_PAIRS or line["beta/1"] < 1:
        return {}
    subspace = find_collapse(share, alpha)
    if subspace is None:
        return {}
    return {
        "warning": f"the oracle has collapsed: up to step {line['step']} subspace {subspace} got at least "
        f"{COLLAPSED_SHARE:.0%} of the pairs given to free subspaces, so the others learn little; try a larger "
        "losses.weights.regularization or another pairs.partner"
    }
