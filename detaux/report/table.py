"""A table of the report: one description, shown in the page and written as Markdown and CSV."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detaux.runtime.files import atomic_path

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
        writer.writerows(self.rows)
        return stream.getvalue()


def write_table(table: Table, folder: Path, key: str) -> None:
    """Leave tables/NAME.md and tables/NAME.csv in the report's folder."""
    for suffix, text in (("md", table.to_markdown()), ("csv", table.to_csv())):
        with atomic_path(folder / "tables" / f"{key}{table.name}.{suffix}") as partial:
            partial.write_text(text, encoding="utf-8")


def _escape_markdown(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return " ".join(escaped.split())


def text_column(title: str, name: str) -> Column:
    return Column(title, lambda row: NONE if row.get(name) is None else str(row[name]), is_number=False)


def number_column(title: str, name: str, form: str = ".3f", scale: int = 1) -> Column:
    """A number in a fixed format; an en dash where it was not measured."""
    return Column(title, lambda row: NONE if row.get(name) is None else format(scale * row[name], form))
