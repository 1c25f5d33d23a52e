"""Tell a collapsed oracle: one free subspace gets nearly every pair, so that no other learns to change alone."""

from typing import Any

COLLAPSED_SHARE = 0.95  # healthy trainings of the presets stay below 0.4, at the demo's ten subspaces below 0.3
LEAST_PAIRS = 500  # of fewer, chance may give that share to one of two subspaces


def find_collapse(share: list[float], alpha: int) -> int | None:
    """The free subspace, any but alpha, that has COLLAPSED_SHARE or more of all that the oracle gives to free ones; None where
    there is no such, and where only one is free."""
    free = {index: value for index, value in enumerate(share) if index != alpha}
    if len(free) < 2 or sum(free.values()) == 0:
        return None
    largest = max(free, key=lambda index: free[index])
    return largest if free[largest] >= COLLAPSED_SHARE * sum(free.values()) else None


def warn_of_collapse(line: dict[str, Any], alpha: int, pairs: int) -> dict[str, str]:
    """{"warning": a sentence} for a line of metrics.jsonl whose oracle collapsed over all `pairs` since the line before, else {}.

    Lines of fewer than LEAST_PAIRS pairs are not judged, nor those before beta 1 has risen to 1: the subspaces take their
    parts while it rises.
    """
    share = line.get("oracle/share")
    if share is None or pairs < LEAST_PAIRS or line["beta/1"] < 1:
        return {}
    subspace = find_collapse(share, alpha)
    if subspace is None:
        return {}
    return {
        "warning": f"the oracle has collapsed: up to step {line['step']} subspace {subspace} got at least "
        f"{COLLAPSED_SHARE:.0%} of the pairs that free subspaces share, so the others learn little; a larger "
        "losses.weights.regularization or other pairs may spread them"
    }
