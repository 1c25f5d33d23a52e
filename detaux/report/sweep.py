"""Build the section of a sweep: its best trials, how their values relate to the objective, and which keys mattered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detaux.artefacts import SUMMARY_NAME, TRIALS_NAME
from detaux.report.drawing import FAINT, INK, LINE, SERIES, STYLE, WIDTH, Drawing, render
from detaux.report.table import NONE, Column, Table, number_column, text_column
from detaux.runtime.readers import read_json, read_rows
from detaux.runtime.record import read_stage_config

OBJECTIVE = "objective"
MEASURES = {  # the meaning of each objective in sweep.objective and sweep.tradeoffs
    "discovery": "separation x (1 - NMI with the principal label)",
    "downstream": "validation accuracy gained over training only on the principal task",
    "independence": "1 - NMI of the chosen clusters with the principal label",
    "stability": "stability of the chosen clusters",
    "known_factor": "V-measure with a known factor",
}
PARALLEL = (
    "Each line is a trial: it crosses the axes of the keys at the trial's values and ends at its objective. The best "
    "trial is thick, other trials that trained to the end are thin, and trials that ended early are grey. A line has a "
    "gap if a key did not apply."
)
IMPORTANCE = (
    "Share of the objective's variance that each key explains by itself, among trials that trained to the end "
    "(functional ANOVA). With few trials it is a hint, not a measurement."
)
FRONT = (
    "Each dot is a trial that trained to the end. A line joins the trials on the front: no other trial is at least as "
    "good in every objective and better in one. A ring marks the best trial by the first objective."
)

TRIALS_COLUMNS = ("trial", OBJECTIVE, "step", "status", "seconds", "scored_after_factor", "scored_after_v_measure")
SUMMARY_NAMES = (
    *("has_task", "uses_ground_truth", "objective", "tradeoffs", "best", "best_objective", "trials", "steps"),
    *("full_grid_steps", "scored_after_rank_correlation", "scored_after_trials", "importance"),
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Scale:
    """Map the values of a key to places on its axis, from 0 to 1."""

    title: str
    values: tuple[Any, ...]  # low and high, or the choices
    is_choice: bool = False
    is_log: bool = False

    def place(self, value: Any) -> float:
        """Return the place of a value, or NaN if there is no value."""
        if value is None:
            return float("nan")
        if self.is_choice:
            # a column of the table has one type: next to 0.5, 1 is read back as 1.0, and next to a word as "1"
            place = next(index for index, one in enumerate(self.values) if one == value or str(one) == value)
            return place / max(1, len(self.values) - 1)
        low, high, here = (float(np.log(one)) if self.is_log else float(one) for one in (*self.values, value))
        return (here - low) / (high - low) if high > low else 0.5

    def list_ticks(self) -> list[tuple[float, str]]:
        return [(self.place(one), f"{one:.3g}" if isinstance(one, float) else str(one)) for one in self.values]


def is_sweep(folder: Path) -> bool:
    """Return whether a folder holds a finished sweep."""
    return (folder / SUMMARY_NAME).is_file() and (folder / TRIALS_NAME).is_file()


def read_results(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Read the trials of a finished sweep, best first, and its summary. Raises UserError if either file is damaged."""
    way_on = "remove it and run `detaux sweep` again"
    rows = read_rows(folder / TRIALS_NAME, way_on, TRIALS_COLUMNS)
    return rows, read_json(folder / SUMMARY_NAME, way_on, SUMMARY_NAMES)


def build_sweep(folder: Path) -> dict[str, Any]:
    """Return what the template shows of a sweep: its name, summary, sentences, table and charts."""
    rows, summary = read_results(folder)
    space = read_stage_config(folder)["sweep"]["space"]
    return {
        "name": folder.resolve().name,
        "summary": summary,
        "found": describe_best(rows, summary),
        "cost": describe_cost(rows, summary),
        "table": build_trials(rows, space, summary),
        "charts": draw_sweep(rows, build_scales(rows, space), summary, folder.resolve().name),
    }


def draw_sweep(rows: Sequence[Row], scales: Mapping[str, "Scale"], summary: Row, name: str) -> dict[str, Drawing]:
    """Draw the charts of a sweep. Return them by file name. Importance is left out if it was not measured."""
    charts = {"parallel": draw_parallel(rows, scales, name)}
    if summary["importance"]:
        charts["importance"] = draw_importance(summary["importance"], name)
    return charts | {f"front-{other}": draw_front(rows, summary, other, name) for other in summary["tradeoffs"]}


def describe_best(rows: Sequence[Row], summary: Row) -> str:
    """Say which trial is the best, and by which objective."""
    if not summary["has_task"]:
        return "No trial found a hidden task."
    truth = "ground truth was used: an upper bound" if summary["uses_ground_truth"] else "no ground truth was used"
    value = f"{summary['best_objective']:.3f} ({MEASURES[summary['objective']]})"
    return f"Trial {summary['best']} is the best of {len(rows)}, with an objective of {value}; {truth}."


def describe_cost(rows: Sequence[Row], summary: Row) -> str:
    """Say how the trials ended, what they cost, and how the objective correlates with a known factor."""
    ended = ", ".join(f"{count} {status}" for status, count in summary["trials"].items())
    share = summary["steps"] / summary["full_grid_steps"]
    text = f"The {len(rows)} trials ended as follows: {ended}. "
    text += f"They took {summary['steps']:,} steps, {share:.0%} of the full grid's."
    correlation = summary["scored_after_rank_correlation"]
    if correlation is None or summary["objective"] == "known_factor":
        return text
    return (
        f"{text} The rank correlation of the objective with the V-measure of the best known factor, scored afterwards, "
        f"is {correlation:.2f} over {summary['scored_after_trials']} trials."
    )


def build_trials(rows: Sequence[Row], space: Row, summary: Row) -> Table:
    """Build the table of all trials, best first."""
    scored = any(row["scored_after_v_measure"] is not None for row in rows)
    columns = [
        text_column("Trial", "trial"),
        *(Column(name, lambda row, name=name: _show(row[name])) for name in space),  # type: ignore[misc]
        number_column("Objective", OBJECTIVE),
        *(number_column(name.capitalize().replace("_", " "), name) for name in summary["tradeoffs"]),
        number_column("Steps", "step", "d"),
        text_column("Ended", "status"),
        number_column("Seconds", "seconds", ".0f"),
    ]
    if scored:
        columns += [
            text_column("Known factor", "scored_after_factor"),
            number_column("V-measure (scoring only)", "scored_after_v_measure"),
        ]
    marked = [{**row, "mark": _mark(row, summary)} for row in rows]
    return Table("trials", "Trials, best first", columns, marked, list(rows[0]))


def _mark(row: Row, summary: Row) -> str:
    is_best, is_on_front = row["trial"] == summary["best"], row.get("on_front", False)
    return ", ".join(text for text, is_so in (("best", is_best), ("on the front", is_on_front)) if is_so)


def _show(value: Any) -> str:
    return NONE if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def build_scales(rows: Sequence[Row], space: Row) -> dict[str, Scale]:
    """Build the axis of each key that varied, and of the objective."""
    scales = {}
    for name, entry in space.items():
        kind = next(one for one in ("uniform", "log", "integer", "choice") if one in entry)
        title = f"{name.rsplit('.', 1)[-1]}\n{name.rsplit('.', 2)[-2]}"
        scales[name] = Scale(title, tuple(entry[kind]), kind == "choice", kind == "log")
    objectives = [row[OBJECTIVE] for row in rows if row[OBJECTIVE] is not None]
    scales[OBJECTIVE] = Scale(OBJECTIVE, (0.0, max(objectives, default=0.0)))
    return scales


def draw_parallel(rows: Sequence[Row], scales: Mapping[str, Scale], name: str) -> Drawing:
    """Draw parallel coordinates. The best trial is drawn last, so that it is on top."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(WIDTH, 1.1 * len(scales)), 3.2), layout="constrained")
        axes = figure.add_subplot()
        for place, scale in enumerate(scales.values()):
            _draw_axis(axes, place, scale)
        for row in reversed(rows):
            heights = [scale.place(row[key]) for key, scale in scales.items()]
            is_best, is_whole = row is rows[0], row["status"] == "finished"
            color = SERIES[1] if is_best else SERIES[0] if is_whole else FAINT
            axes.plot(heights, color=color, linewidth=2.6 if is_best else 1.2, marker=".", alpha=1 if is_whole else 0.6)
        axes.set_xticks(range(len(scales)), [scale.title for scale in scales.values()], fontsize=8)
        axes.set_yticks([])
        axes.set_ylim(-0.06, 1.1)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.tick_params(axis="x", length=0)
    return _finish(figure, "parallel", "Trials", PARALLEL, name)


def draw_importance(importance: Mapping[str, float], name: str) -> Drawing:
    """Draw a bar for each key, from top to bottom in the order given."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.7 + 0.34 * len(importance)), layout="constrained")
        axes = figure.add_subplot()
        axes.barh(list(importance), list(importance.values()), color=SERIES[0], height=0.6)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of variance")
    return _finish(figure, "importance", "Which keys mattered", IMPORTANCE, name)


def draw_front(rows: Sequence[Row], summary: Row, other: str, name: str) -> Drawing:
    """Plot the first objective against another one."""
    whole = [row for row in rows if row["status"] == "finished"]
    front = sorted((row for row in whole if row["on_front"]), key=lambda row: row[other])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([row[other] for row in front], [row[OBJECTIVE] for row in front], color=SERIES[1])
        axes.scatter([row[other] for row in whole], [row[OBJECTIVE] for row in whole], color=SERIES[0], s=18, zorder=2)
        if whole:
            axes.scatter(whole[0][other], whole[0][OBJECTIVE], facecolor="none", edgecolor=SERIES[1], s=90, zorder=3)
        axes.set_xlabel(other.replace("_", " "))
        axes.set_ylabel(summary["objective"].replace("_", " "))
    return _finish(figure, f"front-{other}", f"{summary['objective']} against {other}".replace("_", " "), FRONT, name)


def _finish(figure: Figure, key: str, title: str, caption: str, name: str) -> Drawing:
    return Drawing(title, caption, *render(figure, key, f"Chart of sweep {name}. {title}. {caption}"))


def _draw_axis(axes: Axes, place: int, scale: Scale) -> None:
    axes.axvline(place, color=LINE, linewidth=1)
    for height, text in scale.list_ticks():
        axes.text(place + 0.04, height, text, fontsize=7.5, color=INK, va="bottom")
