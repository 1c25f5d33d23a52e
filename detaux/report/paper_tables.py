"""Show the paper's tables with our numbers beside those of the paper."""

from collections.abc import Sequence
from typing import Any

from detaux.report.accuracy import show_interval
from detaux.report.collect import Run
from detaux.report.paper_cells import FIELDS, NOT_RUN, describe_test, fill_cells, list_misprints
from detaux.report.paper_settings import name_config
from detaux.report.published import DATASETS, DIFFERS, NOTES, TABLES
from detaux.report.sentences import format_points
from detaux.report.table import NONE, Column, Row, Table, number_column, text_column


def _is_share(row: Row) -> bool:
    """Return whether a number is an accuracy, which is shown in percent."""
    return bool(row["measure"] == "accuracy")


def _show_paper(row: Row) -> str:
    if not _is_share(row):
        return f"{row['paper']:.4f}"
    change = "" if row["paper_change"] is None else f" ({format_points(100 * row['paper_change'], 1)})"
    return f"{100 * row['paper']:.1f}{'*' if row['paper_is_quoted'] else ''}{change}"


def _show_mean(row: Row) -> str:
    if row["status"] == NOT_RUN:
        return NOT_RUN
    return f"{100 * row['ours']:.2f}" if _is_share(row) else f"{row['ours']:.4f}"


def _show_ends(row: Row) -> str:
    return show_interval({"accuracy_low": row["ours_low"], "accuracy_high": row["ours_high"]})


def _show_ours(row: Row) -> str:
    """Return the mean, and in brackets its interval and its seeds."""
    if row["status"] == NOT_RUN or not _is_share(row):
        return _show_mean(row)
    spread = "no interval" if row["ours_low"] is None else _show_ends(row)
    return f"{_show_mean(row)} ({spread}; {row['seeds']} seed{'s' if row['seeds'] != 1 else ''})"


def _show_change(row: Row) -> str:
    return NONE if row["ours_change"] is None else format_points(100 * row["ours_change"])


def build_paper_table(name: str, rows: list[Row]) -> Table:
    """Show one of the paper's tables in its own form, with our number to the right of each of the paper's."""
    columns = [text_column("Row", "row")]
    for column in dict.fromkeys(row["column"] for row in rows):
        unit = " %" if _is_share(rows[0]) else ""
        columns += [
            Column(f"{column}{unit}, paper", lambda row, column=column: row["shown"].get(column, (NONE, NONE))[0]),  # type: ignore[misc]
            Column(f"{column}{unit}, ours", lambda row, column=column: row["shown"].get(column, (NONE, NONE))[1]),  # type: ignore[misc]
        ]
    lines = []
    for title in dict.fromkeys(row["row"] for row in rows):
        own = [row for row in rows if row["row"] == title]
        shown = {row["column"]: (_show_paper(row), _show_ours(row)) for row in own}
        raw = {f"{row['column']} paper": row["paper"] for row in own}
        raw |= {f"{row['column']} ours": NOT_RUN if row["ours"] is None else row["ours"] for row in own}
        lines.append({"row": title, "shown": shown, **raw, "differs": DIFFERS[name, title]})
    names = dict.fromkeys(row["column"] for row in rows)
    fields = ["row", *(f"{column} {side}" for column in names for side in ("paper", "ours")), "differs"]
    return Table(name, TABLES[name], columns, lines, fields)


def build_cells(name: str, rows: list[Row]) -> Table:
    """List the cells of one of the paper's tables one by one, with the record that each of our numbers comes from."""
    columns = [text_column("Row", "row"), text_column("Column", "column"), Column("Paper", _show_paper)]
    columns.append(Column("Ours", _show_mean))
    if _is_share(rows[0]):
        columns += [
            Column("95% interval", _show_ends),
            number_column("Seeds", "seeds", "d"),
            Column("Gain over STL, points", _show_change),
            text_column("Setting", "setting"),
        ]
    columns += [
        text_column("Run", "run"),
        Column("Commit", lambda row: NONE if row["commit"] is None else str(row["commit"])[:10], is_number=False),
        text_column("Finished (UTC)", "finished"),
        Column("What differs in this run", lambda row: row["differs"] or NONE, is_number=False),
    ]
    return Table(
        f"{name}-cells", f"{TABLES[name].partition(':')[0]}: every cell and its record", columns, rows, list(FIELDS)
    )


def list_differences(name: str, rows: list[Row]) -> dict[str, str]:
    """Return what differs for each row of a table. Rows with the same sentence are named together."""
    groups: dict[str, list[str]] = {}
    for row in dict.fromkeys(row["row"] for row in rows):
        groups.setdefault(DIFFERS[name, row], []).append(row)
    return {", ".join(names): text for text, names in groups.items()}


def list_notes(name: str, rows: list[Row], runs: Sequence[Run]) -> list[str]:
    """List what holds for a whole table: how the numbers differ, misprints, and the t-test of the paper's appendix."""
    notes = [*NOTES[name]]
    datasets = dict.fromkeys(row["dataset"] for row in rows)
    if name != "table3":
        notes += [DATASETS[dataset].differs for dataset in datasets if DATASETS[dataset].differs]
    notes += [
        f"{row['column']}, {row['row']}: the paper prints a change of {format_points(100 * row['paper_change'], 1)} points; "
        f"the difference of its two numbers is {format_points(100 * change, 1)}."
        for row, change in list_misprints(rows)
    ]
    lists = dict.fromkeys((row["run"], row["dataset"], row["discovery_differs"]) for row in rows)
    notes += [
        f"Settings of disentangling and discovery in the run {run} that are not as in {name_config(dataset)}: {text}."
        for run, dataset, text in lists
        if text
    ]
    if name == "table1":
        notes += [text for dataset in datasets for text in [describe_test(dataset, runs)] if text]
    return notes


def build_published(names: Sequence[str], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return what the template shows of each of the paper's tables that are asked for."""
    sections = []
    for name in TABLES:
        if name in names:
            rows = fill_cells(name, runs)
            tables = (build_paper_table(name, rows), build_cells(name, rows))
            notes, differences = list_notes(name, rows, runs), list_differences(name, rows)
            sections.append({"tables": tables, "notes": notes, "differences": differences})
    return sections
