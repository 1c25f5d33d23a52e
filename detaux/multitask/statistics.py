"""Compute means over seeds with intervals, and paired differences from single-task learning."""

from collections import defaultdict
from typing import Any

import numpy as np
from scipy import stats

from detaux.config.variants import DISCOVERED
from detaux.multitask.trial import COSTS, NO_LABELS, STL

CONFIDENCE = 0.95
SAME = 1e-9  # closer accuracies differ only by rounding
SELECTED = "selected"  # replaces the method in rows that repeat the chosen setting


def compute_interval(values: list[float]) -> tuple[float, float | None, float | None]:
    """Return mean, low and high: the mean over seeds and its t-interval at the level CONFIDENCE.

    Low and high are None for a single value. They are None for equal values too, because the spread is then unknown.
    """
    mean = float(np.mean(values))
    if len(values) < 2 or np.ptp(values) < SAME:
        return mean, None, None
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def compute_paired_p(differences: list[float]) -> float | None:
    """Return the p-value of a two-sided paired t-test of the differences against 0.

    Return None for a single difference or if all differences are equal.
    """
    if len(differences) < 2 or np.ptp(differences) < SAME:
        return None
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def adjust_holm(p_values: list[float | None]) -> list[float | None]:
    """Adjust p-values by Holm's step-down rule; None stays None."""
    known = sorted((value, index) for index, value in enumerate(p_values) if value is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (value, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * value))
        adjusted[index] = largest
    return adjusted


def summarize(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make one line per (method, labels, weight, split): accuracy over seeds, and gain over STL paired by seed.

    `rows` hold kind, method, labels, weight, seed, split, accuracy and costs; costs become means. `gain_p` answers one
    question for each family of lines, and is Holm-adjusted within it: a family is a split and a kind. So controls,
    which ask what causes a gain, do not weaken the test of the methods. It is None for STL.

    `lead` of a control's or an upper bound's line is what the discovered labels gain more than its own, by the same method
    and weight, paired by seed. It is None for other lines, and if no such trial ran.

    The line of the chosen setting, whose method is `selected`, is a single test on data that did not choose it, so its
    p needs no adjustment. It is None on the validation split, which made the choice.
    """
    groups: dict[tuple[str, str, str, float, str], dict[int, float]] = defaultdict(dict)
    costs: dict[tuple[str, str, str, float, str], list[list[float]]] = defaultdict(list)
    for row in rows:
        group = row["kind"], row["method"], row["labels"], row["weight"], row["split"]
        groups[group][row["seed"]] = row["accuracy"]
        costs[group].append([row[cost] for cost in COSTS])
    summary: list[dict[str, Any]] = []
    for (kind, method, labels, weight, split), by_seed in groups.items():
        baseline = groups["stl", STL, NO_LABELS, 0.0, split]
        differences = [accuracy - baseline[seed] for seed, accuracy in by_seed.items()]
        mean, low, high = compute_interval(list(by_seed.values()))
        gain, gain_low, gain_high = compute_interval(differences)
        discovered = groups.get(("method", method, DISCOVERED, weight, split))
        lead, lead_low, lead_high = None, None, None
        if discovered and kind in ("control", "upper_bound"):
            lead, lead_low, lead_high = compute_interval(
                [discovered[seed] - accuracy for seed, accuracy in by_seed.items()]
            )
        summary.append(
            {
                "kind": kind,
                "method": method,
                "labels": labels,
                "weight": weight,
                "split": split,
                "seeds": len(by_seed),
                "accuracy_mean": mean,
                "accuracy_low": low,
                "accuracy_high": high,
                "gain_mean": gain,
                "gain_low": gain_low,
                "gain_high": gain_high,
                "lead_mean": lead,
                "lead_low": lead_low,
                "lead_high": lead_high,
                **dict(zip(COSTS, np.mean(costs[kind, method, labels, weight, split], axis=0).tolist(), strict=True)),
                "gain_p": None if (method, split) == (SELECTED, "validation") else compute_paired_p(differences),
            }
        )
    families: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in summary:
        if line["method"] != SELECTED:
            families[line["split"], line["kind"]].append(line)
    for lines in families.values():
        for line, adjusted in zip(lines, adjust_holm([line["gain_p"] for line in lines]), strict=True):
            line["gain_p"] = adjusted
    return summary
