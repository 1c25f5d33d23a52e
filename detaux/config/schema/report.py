"""Declare the keys of the report."""

from dataclasses import dataclass

from detaux.config.key import key


@dataclass(frozen=True)
class ReportConfig:
    title: str = key("Detaux report", "heading of the page", neutral=True)
    examples: int = key(8, "example images shown per cluster", 1, 16)
    published: list[str] = key(
        [],
        "tables of the paper to show with the numbers of the runs beside its own",
        choices=("table1", "table2", "table3"),
    )
