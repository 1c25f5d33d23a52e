"""Interpret multitask/metrics.json: rows of the accuracy table, the setting that validation chose, and its effect."""

from dataclasses import dataclass
from typing import Any

from detaux.config.variants import DISCOVERED, MARK, POOLED, SEEDED

WITHIN_CLASS = "within_class"  # the control that keeps only the labels' dependence on the principal label
SPLIT, COPY = "correlated_split", "correlated_"  # controls made of the principal label; a copy's name ends with its NMI
BOUND = "upper_bound"  # kind of rows whose labels are ground truth
NO_LABELS = "none"
SELECTED = "selected"  # method of summary rows that repeat the choice's numbers; the report leaves them out
CLUSTERERS = {"hdbscan": "HDBSCAN", "meanshift": "mean shift", "kmeans": "k-means", "kmeans++": "k-means++"}
Summary = dict[str, Any]
Setting = tuple[str, str, float]  # method, labels, weight


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
    # of a control: what the discovered labels gain more, by the same method; None if no such trial ran
    lead: float | None = None
    lead_low: float | None = None
    lead_high: float | None = None

    @property
    def has_discovered_labels(self) -> bool:
        """Return whether the method was given the discovered labels; without them a gain is not the hidden task's."""
        return self.labels != NO_LABELS

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


def is_single_task(row: Summary) -> bool:
    """Return whether a row is STL or a baseline that learns a single task too, such as STL with more passes."""
    return row["kind"] in ("stl", "baseline")


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
    if labels == POOLED:
        return f"{DISCOVERED}, mean over its seeds"
    if labels.startswith(SEEDED):
        return f"{DISCOVERED}, seed {labels.removeprefix(SEEDED)}"
    labels, _, variant = labels.partition(MARK)
    if variant:
        return f"{DISCOVERED} by {CLUSTERERS.get(variant, variant)}"
    return labels.replace("_", " ") + (" (upper bound)" if kind == BOUND else "")


def is_variant(row: Summary) -> bool:
    """Return whether the labels come from another discovery, which is compared and never chosen."""
    return row["kind"] == "variant"


def takes_no_labels(row: Summary) -> bool:
    """Return whether the method learns several tasks and was given no auxiliary labels, so that no weight was tried."""
    return bool(row["labels"] == NO_LABELS and not is_single_task(row))


def find_split(multitask: dict[str, Any]) -> str:
    """Return the split to report: test, or validation if the data set has no test images."""
    return "test" if any(row["split"] == "test" for row in multitask["summary"]) else "validation"


def select_rows(multitask: dict[str, Any], split: str) -> list[Summary]:
    """Return the summary rows of a split: STL, baselines, methods, variants, controls, upper bounds."""
    rows = [row for row in multitask["summary"] if row["split"] == split and row["method"] != SELECTED]
    return sorted(rows, key=_get_place)


def _get_place(row: Summary) -> tuple[bool, ...]:
    return not is_stl(row), not is_single_task(row), is_control(row), is_bound(row), is_variant(row)


def get_setting(row: Summary) -> Setting:
    return row["method"], row["labels"], row["weight"]


def is_choice(multitask: dict[str, Any], row: Summary) -> bool:
    """Return whether validation chose this row's method, labels and weight."""
    return get_setting(row) == get_setting(multitask["chosen"])


def read_validation(multitask: dict[str, Any]) -> dict[Setting, float]:
    """Return the mean validation accuracy of each setting, which ranks the settings."""
    return {get_setting(row): row["accuracy_mean"] for row in select_rows(multitask, "validation")}


def pick_rows(multitask: dict[str, Any], split: str) -> list[Summary]:
    """Return one row for each method and its labels, then one for each control.

    A method's row has the weight that validation ranks first, or the chosen weight. Other seeds of discovery have one
    row for their mean. A control's row is the closest one to the effect: the same method first, then the same weight.
    """
    validation, rows = read_validation(multitask), select_rows(multitask, split)
    groups: dict[tuple[str, str, str], list[Summary]] = {}
    for row in rows:
        is_one_seed = row["labels"].startswith(SEEDED) and row["labels"] != POOLED
        if not (is_control(row) or is_one_seed):
            groups.setdefault((row["kind"], row["method"], row["labels"]), []).append(row)
    best = [
        max(group, key=lambda row: (is_choice(multitask, row), validation.get(get_setting(row), -1.0)))
        for group in groups.values()
    ]
    effect, controls = find_effect(multitask), [row for row in rows if is_control(row)]
    names = dict.fromkeys(row["labels"] for row in controls)
    return best + [_find_closest([row for row in controls if row["labels"] == name], effect) for name in names]


def _find_closest(rows: list[Summary], effect: Effect | None) -> Summary:
    """Return the row that is closest to the effect: the same method first, then the same weight."""
    if effect is None:
        return rows[0]
    return min(rows, key=lambda row: (row["method"] != effect.method, row["weight"] != effect.weight))


def _read_effect(row: Summary) -> Effect | None:
    (mean, *gain), lead = _read_points(row, "gain"), _read_points(row, "lead")
    if is_stl(row) or mean is None:
        return None
    return Effect(row["kind"], row["method"], row["labels"], row["weight"], row["seeds"], mean, *gain, *lead)


def _read_points(row: Summary, difference: str) -> list[float | None]:
    """Return mean and both ends of the interval of a paired difference, in percentage points."""
    values = [row.get(f"{difference}_{name}") for name in ("mean", "low", "high")]
    return [None if value is None else 100 * value for value in values]


def find_choice(multitask: dict[str, Any], split: str) -> Summary | None:
    """Return the summary row that validation chose, or None if the split has no such row."""
    return next((row for row in select_rows(multitask, split) if is_choice(multitask, row)), None)


def find_effect(multitask: dict[str, Any]) -> Effect | None:
    """Return the effect of the setting that validation chose, or None if it was not measured.

    If validation chose STL or a baseline, return the effect of the best other setting on validation. Only validation accuracy
    ranks the settings, never the accuracy on the reported split.
    """
    split = find_split(multitask)
    choice = find_choice(multitask, split)
    if choice is not None and not is_single_task(choice):
        return _read_effect(choice)
    ranked = sorted(
        (
            row
            for row in select_rows(multitask, "validation")
            if not (is_single_task(row) or is_control(row) or is_variant(row))
        ),
        key=lambda row: row["accuracy_mean"],
        reverse=True,
    )
    for best in ranked:
        for row in select_rows(multitask, split):
            if get_setting(row) == get_setting(best):
                return _read_effect(row)
    return None


def find_control(multitask: dict[str, Any], effect: Effect) -> Effect | None:
    """Return the random-label control that is closest to `effect`: the same method first, then the same weight.

    Return None if there is none, or if the method of `effect` was given no labels that random ones could replace.
    """
    if not effect.has_discovered_labels:
        return None
    rows = [row for row in select_rows(multitask, find_split(multitask)) if row["labels"] == "random"]
    return _read_effect(_find_closest(rows, effect)) if rows else None


def find_rival(multitask: dict[str, Any], effect: Effect) -> Effect | None:
    """Return the strongest control at the same weight that `effect` does not beat, or None if it beats all.

    `effect` beats a control if the interval of their paired difference lies above zero. Without an interval, the higher
    gain decides.

    Return None if `effect` is no gain, or if its method was given no discovered labels. A control that the method of
    `effect` trained on counts with this method only. An upper bound is no rival: its labels are expected to gain more,
    which takes nothing from the discovered ones.

    Controls that gain as much come first. `within_class` comes after labels that know nothing of the principal label: it
    would explain the gain by the dependence on that label, but this explanation fails if labels without the dependence
    gain as much. Splits and copies of the principal label come last, because they carry more of it than the discovered
    labels.
    """
    if effect.verdict != "a gain" or not effect.has_discovered_labels:
        return None
    controls = _list_same(multitask, effect, "control")
    rivals = [one for one in controls if not _beats(effect, one)]
    return max(
        rivals,
        key=lambda one: (
            one.mean >= effect.mean,
            not one.labels.startswith(COPY),
            one.labels != WITHIN_CLASS,
            one.mean,
        ),
        default=None,
    )


def _beats(effect: Effect, control: Effect) -> bool:
    if control.lead_low is None or control.method != effect.method:
        return control.mean < effect.mean
    return control.lead_low > 0


def find_bounds(multitask: dict[str, Any], effect: Effect) -> list[Effect]:
    """Return the effects of ground-truth labels at the same weight; none if `effect` is of no labels."""
    return _list_same(multitask, effect, BOUND) if effect.has_discovered_labels else []


def _list_same(multitask: dict[str, Any], effect: Effect, kind: str) -> list[Effect]:
    """Return the effects of a kind of rows at the weight of `effect`, by its method if that trained on their labels."""
    rows = [_read_effect(row) for row in select_rows(multitask, find_split(multitask)) if row["kind"] == kind]
    found = [one for one in rows if one and one.weight == effect.weight]
    own = {one.labels for one in found if one.method == effect.method}
    return [one for one in found if one.method == effect.method or one.labels not in own]


def judge_effect(multitask: dict[str, Any], effect: Effect) -> str:
    """Return the verdict in a few words. Name the control that is not beaten, or a method without discovered labels."""
    if not effect.has_discovered_labels:
        return f"{effect.verdict}, without the discovered labels"
    rival = find_rival(multitask, effect)
    if rival is None:
        return effect.verdict
    relation = "as with" if rival.mean >= effect.mean else "not told apart from"
    return f"{effect.verdict}, {relation} {rival.labels_name} labels"
