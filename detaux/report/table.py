"""Describe a table once, to show it in the page and to write it as Markdown and CSV."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from detaux.runtime.text import show_text

Row = dict[str, Any]
NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Column:
    title: str
    show: Callable[[Row], str]
    is_number: bool = True


@dataclass(frozen=True)
class Table:
    """Hold rows of raw values. `columns` format them for readers, and `fields` are the values that the CSV has.

    A row's `mark` is shown next to its first cell.
    """

    name: str
    caption: str
    columns: list[Column]
    rows: list[Row]
    fields: list[str] = field(default_factory=list)

    def cells(self) -> list[list[str]]:
        return [[column.show(row) for column in self.columns] for row in self.rows]

    def to_markdown(self) -> str:
        """Return a pipe table with numbers aligned right. Pipes and line breaks inside cells are replaced."""
        lines = [
            [column.title for column in self.columns],
            ["---:" if column.is_number else "---" for column in self.columns],
        ]
        lines += [
            [f"{cells[0]} ({row['mark']})" if row.get("mark") else cells[0], *cells[1:]]
            for row, cells in zip(self.rows, self.cells(), strict=True)
        ]
        body = "\n".join("| " + " | ".join(_escape_markdown(cell) for cell in line) + " |" for line in lines)
        return f"{_escape_markdown(self.caption)}\n\n{body}\n"

    def to_csv(self) -> str:
        """Return the raw values, not rounded."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self.fields, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _disarm(value) for name, value in row.items()} for row in self.rows)
        return stream.getvalue()


def list_table(table: Table, key: str) -> dict[str, bytes]:
    """Return the table as files of the report: tables/NAME.md and tables/NAME.csv."""
    texts = {"md": table.to_markdown(), "csv": table.to_csv()}
    return {f"tables/{key}{table.name}.{suffix}": text.encode() for suffix, text in texts.items()}


def _disarm(value: Any) -> Any:
    """Return text that breaks no line and that a spreadsheet does not run as a formula.

    A text that begins like a formula, for example a class named `=cmd`, gets a quote in front.
    """
    if not isinstance(value, str):
        return value
    text = show_text(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _escape_markdown(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(escaped.split())


def text_column(title: str, name: str) -> Column:
    return Column(title, lambda row: NONE if row.get(name) is None else str(row[name]), is_number=False)


def number_column(title: str, name: str, form: str = ".3f", scale: int = 1) -> Column:
    """Build a column of numbers in a fixed format, with an en dash if a number was not measured."""
    return Column(title, lambda row: NONE if row.get(name) is None else format(scale * row[name], form))
