"""The tables as files, against the run they are of."""

import csv

import pytest

TABLES = ("choice", "candidates", "relations", "factors", "variance", "methods", "accuracy")


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", TABLES)
def test_csv_of_an_upper_bound_says_so_in_every_row(comparison_page, name):
    tables = comparison_page.parent / "tables"
    assert {row["upper_bound"] for row in read_csv(tables / f"run-2-{name}.csv")} == {"true"}
    assert all("upper_bound" not in row for row in read_csv(tables / f"run-1-{name}.csv"))


def test_comparison_csv_says_which_run_is_an_upper_bound(comparison_page):
    rows = read_csv(comparison_page.parent / "tables" / "comparison.csv")
    assert [row["upper_bound"] for row in rows] == ["", "true"]
