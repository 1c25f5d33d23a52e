"""Build the tables of accuracies and costs: one row for each method, and every setting."""

from collections.abc import Callable
from typing import Any

from detaux.report.collect import Run
from detaux.report.effect import (
    Summary,
    find_split,
    get_setting,
    is_bound,
    is_choice,
    is_control,
    is_single_task,
    is_stl,
    name_labels,
    pick_rows,
    read_validation,
    select_rows,
    takes_no_labels,
)
from detaux.report.sentences import format_interval, format_points, name_method, name_method_of
from detaux.report.table import NONE, Column, Row, Table, number_column, text_column
from detaux.report.tables import show_p

COSTS = ("parameters", "steps", "seconds")
FIELDS = (
    *("mark", "method", "labels", "weight", "split", "seeds", "validation_accuracy_mean"),
    *(f"{kind}_{name}" for kind in ("accuracy", "gain") for name in ("mean", "low", "high")),
    *("gain_p", "lead_mean", "lead_low", "lead_high"),
)


def has_costs(rows: list[Summary]) -> bool:
    """Return whether every row has the costs of its trial. An older release wrote none."""
    return all(row.get(cost) is not None for row in rows for cost in COSTS)


def _mark(multitask: dict[str, Any], row: Summary) -> str:
    if is_choice(multitask, row):
        return "chosen"
    if is_bound(row):
        return "upper bound"
    return "control" if is_control(row) else ""


def _name_labels(row: Summary) -> str:
    if is_single_task(row):
        return NONE
    return "none given" if takes_no_labels(row) else name_labels(row["kind"], row["labels"])


def _fill_rows(multitask: dict[str, Any], rows: list[Summary]) -> list[Row]:
    """Add to summary rows what the tables show: marks, names, validation accuracy, and costs relative to STL."""
    validation, stl = read_validation(multitask), next((row for row in rows if is_stl(row)), None)
    filled = []
    for row in rows:
        gains = {f"gain_{name}": None if is_stl(row) else row.get(f"gain_{name}") for name in ("mean", "low", "high")}
        ratios = {}
        if stl is not None and has_costs(rows):
            ratios = {f"{cost}_ratio": row[cost] / stl[cost] for cost in COSTS if stl[cost] > 0}
        names = {
            "mark": _mark(multitask, row),
            "method_name": name_method_of(row),
            "labels_name": _name_labels(row),
        }
        accuracy = validation.get(get_setting(row))
        filled.append({**row, **gains, **ratios, **names, "validation_accuracy_mean": accuracy})
    return filled


def show_interval(row: Row) -> str:
    """Return both ends of the accuracy's interval in percent."""
    low, high = row["accuracy_low"], row["accuracy_high"]
    return NONE if low is None or high is None else f"{100 * low:.2f} to {100 * high:.2f}"


def _show_gain(row: Row) -> str:
    return NONE if row["gain_mean"] is None else format_points(100 * row["gain_mean"])


def _show_gain_interval(row: Row) -> str:
    low, high = row["gain_low"], row["gain_high"]
    return NONE if low is None or high is None else format_interval(100 * low, 100 * high)


def _show_lead(row: Row) -> str:
    if row.get("lead_mean") is None:
        return NONE
    ends = [None if row[name] is None else 100 * row[name] for name in ("lead_low", "lead_high")]
    return f"{format_points(100 * row['lead_mean'])} ({format_interval(*ends)})"


def _list_columns(split: str, rows: list[Summary]) -> list[Column]:
    has_leads = any(row.get("lead_mean") is not None for row in rows)
    return [
        text_column("Method", "method_name"),
        text_column("Auxiliary labels", "labels_name"),
        Column("Weight", lambda row: NONE if is_single_task(row) or takes_no_labels(row) else f"{row['weight']:g}"),
        number_column("Seeds", "seeds", "d"),
        number_column("Validation accuracy %", "validation_accuracy_mean", ".2f", 100),
        number_column(f"{split.capitalize()} accuracy %", "accuracy_mean", ".2f", 100),
        Column("95% interval", show_interval),
        Column("Gain over STL, points", _show_gain),
        Column("95% interval of the gain", _show_gain_interval),
        Column("Paired p (Holm)", lambda row: show_p(row.get("gain_p"))),
        *([Column("Discovered labels gain more by", _show_lead)] if has_leads else []),
    ]


def _build(
    run: Run, pick: Callable[[dict[str, Any], str], list[Summary]], name: str, caption: str, costs: list[Column]
) -> Table | None:
    if run.multitask is None:
        return None
    split = find_split(run.multitask)
    rows = pick(run.multitask, split)
    is_costly = has_costs(rows)
    columns = _list_columns(split, rows) + (costs if is_costly else [])
    ratios = [f"{cost}_ratio" for cost in COSTS]
    fields = [*FIELDS, *((*COSTS, *ratios) if is_costly else ())]
    return Table(name, caption.format(split=split), columns, _fill_rows(run.multitask, rows), fields)


def build_methods(run: Run) -> Table | None:
    """Show accuracy, gain and cost of each method at the weight that validation ranks first, and of each control.

    Return None if there are no multitask results.
    """
    costs = [number_column(f"{cost.capitalize()}, x STL", f"{cost}_ratio", ".2f") for cost in COSTS]
    caption = (
        "Methods on the {split} split, each at the weight that validation ranks first, and controls at the weight of the "
        "effect; gains are paired by seed"
    )
    return _build(run, pick_rows, "methods", caption, costs)


def build_accuracy(run: Run) -> Table | None:
    """Show mean, 95% interval, paired gain over STL and costs for every method, labels and weight.

    Return None if there are no multitask results.
    """
    costs = [number_column(cost.capitalize(), cost, ",.0f" if cost != "seconds" else ",.1f") for cost in COSTS]
    caption = "Accuracy on the {split} split; gains are paired by seed"
    return _build(run, select_rows, "accuracy", caption, costs)


def describe_costs(run: Run) -> str | None:
    """Say what a training of STL and of the costliest method took, or return None if no costs were written."""
    if run.multitask is None:
        return None
    rows = [row for row in select_rows(run.multitask, find_split(run.multitask)) if not is_control(row)]
    stl = next((row for row in rows if is_stl(row)), None)
    if stl is None or not has_costs(rows):
        return None
    text = (
        f"A training of STL took {stl['seconds']:,.1f} s for {stl['steps']:,.0f} steps of "
        f"{stl['parameters']:,.0f} parameters"
    )
    slowest = max(rows, key=lambda row: row["seconds"])
    if is_stl(slowest) or stl["seconds"] <= 0:
        return f"{text}."
    return f"{text}; {name_method(slowest['method'])} took {slowest['seconds'] / stl['seconds']:.1f} times as long."
