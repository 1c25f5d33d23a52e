"""Interpret multitask/metrics.json: rows of the accuracy table, the setting that validation chose, and its effect."""

from dataclasses import dataclass
from typing import Any

WITHIN_CLASS = "within_class"  # the control that keeps only the labels' dependence on the principal label
SPLIT, COPY = "correlated_split", "correlated_"  # controls made of the principal label; a copy's name ends with its NMI
BOUND = "upper_bound"  # kind of rows whose labels are ground truth
SELECTED = "selected"  # method of summary rows that repeat the choice's numbers; the report leaves them out
Summary = dict[str, Any]


@dataclass(frozen=True)
class Effect:
    """Hold the paired difference from STL on the reported split, in percentage points, with its 95% interval."""

    kind: str
    method: str
    labels: str
    weight: float
    seeds: int
    mean: float
    low: float | None  # None if there is one seed, or if all seeds agree
    high: float | None

    @property
    def labels_name(self) -> str:
        return name_labels(self.kind, self.labels)

    @property
    def verdict(self) -> str:
        if self.low is None or self.high is None:
            return "no gain shown"
        if self.low > 0:
            return "a gain"
        if self.high < 0:
            return "a loss"
        return "no gain shown"


def is_stl(row: Summary) -> bool:
    return row["kind"] == "stl"


def is_control(row: Summary) -> bool:
    """Return whether a row is only for comparison and is never chosen. An upper bound is such a row too."""
    return row["kind"] == "control" or is_bound(row)


def is_bound(row: Summary) -> bool:
    """Return whether the labels of a row are ground truth, so that its numbers are an upper bound."""
    return bool(row["kind"] == BOUND)


def name_labels(kind: str, labels: str) -> str:
    """Name the auxiliary labels of a row in words. Labels from ground truth are marked as an upper bound."""
    if labels == SPLIT:
        return "split class"
    if labels.startswith(COPY):
        return f"class copy (NMI {labels.removeprefix(COPY)})"
    return labels.replace("_", " ") + (" (upper bound)" if kind == BOUND else "")


def find_split(multitask: dict[str, Any]) -> str:
    """Return the split to report: test, or validation if the data set has no test images."""
    return "test" if any(row["split"] == "test" for row in multitask["summary"]) else "validation"


def select_rows(multitask: dict[str, Any], split: str) -> list[Summary]:
    """Return the summary rows of a split: STL, then the discovered labels, then the controls, then upper bounds."""
    rows = [row for row in multitask["summary"] if row["split"] == split and row["method"] != SELECTED]
    return sorted(rows, key=lambda row: (not is_stl(row), is_control(row), is_bound(row)))


def is_choice(multitask: dict[str, Any], row: Summary) -> bool:
    """Return whether validation chose this row's method, labels and weight."""
    return all(row[name] == multitask["chosen"][name] for name in ("method", "labels", "weight"))


def _read_effect(row: Summary) -> Effect | None:
    mean, low, high = (
        None if row.get(f"gain_{name}") is None else 100 * row[f"gain_{name}"] for name in ("mean", "low", "high")
    )
    if is_stl(row) or mean is None:
        return None
    return Effect(row["kind"], row["method"], row["labels"], row["weight"], row["seeds"], mean, low, high)


def find_choice(multitask: dict[str, Any], split: str) -> Summary | None:
    """Return the summary row that validation chose, or None if the split has no such row."""
    return next((row for row in select_rows(multitask, split) if is_choice(multitask, row)), None)


def find_effect(multitask: dict[str, Any]) -> Effect | None:
    """Return the effect of the setting that validation chose, or None if it was not measured.

    If validation chose STL, return the effect of the best auxiliary setting on validation. Only validation accuracy
    ranks the settings, never the accuracy on the reported split.
    """
    split = find_split(multitask)
    choice = find_choice(multitask, split)
    if choice is not None and not is_stl(choice):
        return _read_effect(choice)
    ranked = sorted(
        (row for row in select_rows(multitask, "validation") if not is_stl(row) and not is_control(row)),
        key=lambda row: row["accuracy_mean"],
        reverse=True,
    )
    for best in ranked:
        for row in select_rows(multitask, split):
            if all(row[name] == best[name] for name in ("method", "labels", "weight")):
                return _read_effect(row)
    return None


def find_control(multitask: dict[str, Any], effect: Effect) -> Effect | None:
    """Return the random-label control that is closest to `effect`: the same method first, then the same weight."""
    rows = [row for row in select_rows(multitask, find_split(multitask)) if row["labels"] == "random"]
    rows.sort(key=lambda row: (row["method"] != effect.method, row["weight"] != effect.weight))
    return _read_effect(rows[0]) if rows else None


def find_rival(multitask: dict[str, Any], effect: Effect) -> Effect | None:
    """Return the strongest control that gains at least as much as `effect` at the same weight, or None if none does.

    Return None if `effect` is no gain. A control that the method of `effect` trained on counts with this method only.
    An upper bound is no rival: its labels are expected to gain more, which takes nothing from the discovered ones.

    `within_class` comes after labels that know nothing of the principal label: it would explain the gain by the
    dependence on that label, but this explanation fails if labels without the dependence gain as much. Splits and
    copies of the principal label come last, because they carry more of it than the discovered labels.
    """
    if effect.verdict != "a gain":
        return None
    controls = _list_same(multitask, effect, "control")
    rivals = [one for one in controls if one.mean >= effect.mean]
    return max(
        rivals, key=lambda one: (-one.labels.startswith(COPY), one.labels != WITHIN_CLASS, one.mean), default=None
    )


def find_bounds(multitask: dict[str, Any], effect: Effect) -> list[Effect]:
    """Return the effects of ground-truth labels at the same weight."""
    return _list_same(multitask, effect, BOUND)


def _list_same(multitask: dict[str, Any], effect: Effect, kind: str) -> list[Effect]:
    """Return the effects of a kind of rows at the weight of `effect`, by its method if that trained on their labels."""
    rows = [_read_effect(row) for row in select_rows(multitask, find_split(multitask)) if row["kind"] == kind]
    found = [one for one in rows if one and one.weight == effect.weight]
    own = {one.labels for one in found if one.method == effect.method}
    return [one for one in found if one.method == effect.method or one.labels not in own]


def judge_effect(multitask: dict[str, Any], effect: Effect) -> str:
    """Return the verdict in a few words, and name the control that gains as much."""
    rival = find_rival(multitask, effect)
    return f"{effect.verdict}, as with {rival.labels_name} labels" if rival else effect.verdict
