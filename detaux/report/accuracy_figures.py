"""Draw accuracies with intervals, one row for each method; over the seconds of a training; and over its epochs."""

import itertools
import textwrap

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from detaux.report.accuracy import has_costs
from detaux.report.collect import Run
from detaux.report.drawing import FAINT, INK, PAPER, SERIES, new_axes
from detaux.report.effect import (
    DISCOVERED,
    Summary,
    find_split,
    get_setting,
    is_choice,
    is_control,
    is_single_task,
    is_stl,
    name_labels,
    pick_rows,
    takes_no_labels,
)
from detaux.report.sentences import name_method, name_method_of

LABEL_LENGTH = 24  # maximum characters of a label's name on an axis
MARKERS = ("o", "^", "v", "D", "P", "X", "<", ">", "p", "h", "*")  # 11 and 8 have no factor in common
DASHES = ("-", "--", "-.")  # 8 colours and 3 dashes have no factor in common either
LOG_RATIO = 4  # a log axis if the costliest method takes this many times as long as the cheapest


def _name_row(row: Summary) -> str:
    if is_single_task(row):
        return name_method_of(row)
    if takes_no_labels(row):
        return f"{name_method(row['method'])}\nno labels given"
    return f"{name_method(row['method'])}, {row['weight']:g}\n{_shorten(row)} labels"


def _shorten(row: Summary) -> str:
    return textwrap.shorten(name_labels(row["kind"], row["labels"]), LABEL_LENGTH, placeholder="...")


def _name_point(row: Summary, is_chosen: bool) -> str:
    """Name a row in the legend. The labels are left out if they are the discovered ones, because a line is short."""
    parts = [name_method_of(row)]
    if not is_single_task(row) and not takes_no_labels(row):
        parts.append(f"{row['weight']:g}")
        parts += [] if row["labels"] == DISCOVERED else [_shorten(row)]
    # a dollar sign would start a formula
    return (", ".join(parts) + (" (chosen)" if is_chosen else "")).replace("$", r"\$")


def draw_intervals(run: Run, kind: str, label: str) -> Figure | None:
    """Draw dots with 95% intervals, one row per setting. `kind` is accuracy or gain."""
    if run.multitask is None:
        return None
    rows = [row for row in pick_rows(run.multitask, find_split(run.multitask)) if row.get(f"{kind}_mean") is not None]
    rows = [row for row in rows if kind == "accuracy" or not is_stl(row)]
    if not rows:
        return None
    figure, axes = new_axes(1.1 + 0.45 * len(rows))
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    names = []
    for place, row in enumerate(rows):
        mean = 100 * row[f"{kind}_mean"]
        is_chosen, control = is_choice(run.multitask, row), is_control(row)
        color = SERIES[1] if is_chosen else FAINT if control else SERIES[0]
        low, high = row.get(f"{kind}_low"), row.get(f"{kind}_high")
        if low is not None and high is not None:
            axes.plot([100 * low, 100 * high], [place, place], color=color, linewidth=2)
        axes.plot(
            mean,
            place,
            marker="D" if is_chosen else "o",
            markersize=7,
            color=color,
            markerfacecolor=PAPER if control else color,
        )
        names.append(_name_row(row) + (" (chosen)" if is_chosen else ""))
    if kind == "gain":
        axes.axvline(0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), names, fontsize=8.5, parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(label)
    return figure


def draw_costs(run: Run) -> Figure | None:
    """Draw the accuracy of each method over the mean seconds of a training. Each method has a colour and a shape."""
    if run.multitask is None:
        return None
    rows = [row for row in pick_rows(run.multitask, find_split(run.multitask)) if not is_control(row)]
    if len(rows) < 2 or not has_costs(rows):
        return None
    figure, axes = new_axes(2.7 + 0.18 * len(rows))
    others = iter(zip(itertools.cycle(SERIES), itertools.cycle(MARKERS), strict=False))
    for row in rows:
        color, marker = (INK, "s") if is_stl(row) else next(others)
        mean, low, high = (row[f"accuracy_{name}"] for name in ("mean", "low", "high"))
        if low is not None and high is not None:
            axes.plot([row["seconds"]] * 2, [100 * low, 100 * high], color=color, linewidth=1.6)
        if is_stl(row):
            axes.axhline(100 * mean, color=color, linestyle="--", linewidth=0.9)
        is_chosen = is_choice(run.multitask, row)
        if is_chosen:
            axes.plot(row["seconds"], 100 * mean, "o", markersize=14, color=SERIES[1], markerfacecolor="none")
        name = _name_point(row, is_chosen)
        axes.plot(row["seconds"], 100 * mean, marker, markersize=7, color=color, linestyle="none", label=name)
    seconds = [row["seconds"] for row in rows]
    if min(seconds) > 0 and max(seconds) >= LOG_RATIO * min(seconds):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("seconds of a training")
    axes.set_ylabel("accuracy, %")
    figure.legend(loc="outside upper left", fontsize=8.5)
    return figure


def draw_epochs(run: Run) -> Figure | None:
    """Draw the validation accuracy of each method after each epoch: the mean over seeds, and the range of the seeds.

    The many controls are grey lines without a range.
    """
    if run.multitask is None:
        return None
    rows = pick_rows(run.multitask, find_split(run.multitask))
    found = [(row, curves) for row in rows if (curves := _collect_curves(run, row)).size]
    if not found or max(curves.shape[1] for _, curves in found) < 2:
        return None
    methods = [(row, curves) for row, curves in found if not is_control(row)]
    figure, axes = new_axes(2.7 + 0.18 * (len(methods) + 2))
    for place, curves in enumerate(curves for row, curves in found if is_control(row)):
        name = "controls" if place == 0 else None
        axes.plot(_number_epochs(curves), curves.mean(0), color=FAINT, linewidth=0.8, label=name)
    others = iter(zip(itertools.cycle(SERIES), itertools.cycle(DASHES), strict=False))
    for row, curves in methods:
        color, dash = (INK, "-") if is_stl(row) else next(others)
        epochs, name = _number_epochs(curves), _name_point(row, is_choice(run.multitask, row))
        axes.fill_between(epochs, curves.min(0), curves.max(0), color=color, alpha=0.15, linewidth=0)
        axes.plot(epochs, curves.mean(0), color=color, linestyle=dash, label=name)
    if classes := run.multitask.get("facts", {}).get("classes"):
        axes.axhline(100 / classes, color=INK, linestyle=":", linewidth=0.9, label=f"1 / {classes} classes")
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation accuracy, %")
    figure.legend(loc="outside upper left", fontsize=8.5)
    return figure


def _number_epochs(curves: np.ndarray) -> np.ndarray:
    return np.arange(1, curves.shape[1] + 1)


def _collect_curves(run: Run, row: Summary) -> np.ndarray:
    """Return the validation accuracies [seeds, epochs] in percent of a row's setting, over the epochs that all seeds have."""
    curves = [
        [100 * epoch["accuracy"] for epoch in line["curve"]]
        for line in run.curves
        if get_setting(line) == get_setting(row)
    ]
    epochs = min((len(curve) for curve in curves), default=0)
    return np.array([curve[:epochs] for curve in curves])
