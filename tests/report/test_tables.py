"""The tables as files, against the run they are of."""

import csv

import pytest

from detaux.report.collect import load_run
from detaux.report.tables import build_accuracy

TABLES = ("choice", "candidates", "relations", "factors", "variance", "accuracy")


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


def test_accuracy_table_marks_the_choice_of_validation_beside_the_numbers_of_both_splits(run_folder, edit_json):
    """Validation chose the weight of 1, though 0.2 is better on the test split."""

    def change(multitask):
        multitask["chosen"].update(weight=1.0)
        multitask["summary"][4].update(accuracy_mean=0.9)  # weight 1 on validation

    edit_json(run_folder / "multitask" / "metrics.json", change)
    table = build_accuracy(load_run(run_folder, "demo"))
    assert [row["mark"] for row in table.rows] == ["", "", "chosen", "control", "control"]
    assert table.cells()[2] == [
        "hard sharing",
        "discovered",
        "1",
        "3",
        "90.00",
        "83.61",
        "81.48 to 85.74",
        "+0.49",
        "\N{MINUS SIGN}1.04 to +2.02",
        "0.040",
    ]
