"""A table of the report: one description, shown in the page and written as Markdown and CSV."""

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
    """Rows of raw values; columns say how a person reads them, `fields` what the CSV keeps. A row's `mark` is shown."""

    name: str
    caption: str
    columns: list[Column]
    rows: list[Row]
    fields: list[str] = field(default_factory=list)

    def cells(self) -> list[list[str]]:
        return [[column.show(row) for column in self.columns] for row in self.rows]

    def to_markdown(self) -> str:
        """A pipe table, numbers to the right; a pipe or line break inside a cell is made harmless."""
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
        """Raw values, unrounded."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self.fields, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _disarm(value) for name, value in row.items()} for row in self.rows)
        return stream.getvalue()


def list_table(table: Table, key: str) -> dict[str, bytes]:
    """The table as files of the report: tables/NAME.md and tables/NAME.csv."""
    texts = {"md": table.to_markdown(), "csv": table.to_csv()}
    return {f"tables/{key}{table.name}.{suffix}": text.encode() for suffix, text in texts.items()}


def _disarm(value: Any) -> Any:
    """Text that ends no line and is no formula for a spreadsheet: one that begins like it, as a class called `=cmd`, gets a quote
    before it."""
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
    """A number in a fixed format; an en dash where it was not measured."""
    return Column(title, lambda row: NONE if row.get(name) is None else format(scale * row[name], form))
