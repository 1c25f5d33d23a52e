"""The section of a sweep, against values by hand."""

import csv
import json
import math

import pyarrow
import pyarrow.parquet
import pytest

from detaux.config.schema import ReportConfig
from detaux.errors import UserError
from detaux.report.build import build_report
from detaux.report.sweep import SUMMARY_NAMES, TRIALS_COLUMNS, Scale, build_sweep, is_sweep


def test_page_of_a_sweep_says_what_was_best_what_it_cost_and_that_no_ground_truth_chose(sweep_page):
    page = sweep_page.read_text(encoding="utf-8")
    assert "Trial a1 is the best of 4, with an objective of 0.800 (" in page
    assert "no ground truth was used" in page
    assert "2 finished, 1 stopped, 1 failed. They took 300 steps, 75% of the full grid" in page
    assert "scored afterwards, is 1.00 over 3 trials" in page
    assert "upper bound" not in page
    assert (sweep_page.parent / "figures" / "parallel.png").is_file()


def test_table_holds_every_trial_unrounded_and_marks_the_best(sweep_page):
    with (sweep_page.parent / "tables" / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["trial"] for row in rows] == ["a1", "b2", "c3", "d4"]
    assert [row["losses.distance.margin"] for row in rows] == ["0.5", "", "2.0", "0.1"]
    assert "| a1 (best) | 0.5 | patch_conv | 0.800 |" in (sweep_page.parent / "tables" / "trials.md").read_text()


def test_axis_places_values_like_its_scale():
    assert Scale("", (0.1, 10.0), is_log=True).place(1.0) == pytest.approx(0.5)
    assert Scale("", (2, 6)).place(3) == 0.25
    assert Scale("", ("a", "b", "c"), is_choice=True).place("b") == 0.5
    assert Scale("", (0.5, 1, 2), is_choice=True).place(1.0) == 0.5  # as a column of one type gives 1 back
    assert Scale("", ("none", 1), is_choice=True).place("1") == 1
    assert math.isnan(Scale("", (0.0, 1.0)).place(None))
    assert Scale("", (0.0, 0.0)).place(0.0) == 0.5
    assert Scale("", (4,), is_choice=True).list_ticks() == [(0.0, "4")]


def test_front_and_importance_are_drawn_where_there_are_any(sweep_folder, sweep_page):
    rows = pyarrow.parquet.read_table(sweep_folder / "trials.parquet").to_pylist()
    further = {"a1": (0.2, True), "b2": (0.9, True), "c3": (0.1, False), "d4": (None, False)}
    rows = [{**row, **dict(zip(("independence", "on_front"), further[row["trial"]], strict=True))} for row in rows]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sweep_folder / "trials.parquet")
    summary = json.loads((sweep_folder / "sweep.json").read_text())
    changes = {"tradeoffs": ["independence"], "importance": {"losses.distance.margin": 0.7, "model.encoder": 0.3}}
    (sweep_folder / "sweep.json").write_text(json.dumps(summary | changes))
    page = build_report([sweep_folder], sweep_folder / "report", ReportConfig()).read_text()
    drawn = {path.stem for path in (sweep_folder / "report" / "figures").glob("*.png")}
    assert drawn == {"parallel", "importance", "front-independence"}
    assert "discovery against independence" in page
    assert page.count("on the front") >= 2
    assert {path.stem for path in (sweep_page.parent / "figures").glob("*.png")} == {"parallel"}


def test_ground_truth_is_said_to_be_an_upper_bound(sweep_folder):
    summary = json.loads((sweep_folder / "sweep.json").read_text())
    (sweep_folder / "sweep.json").write_text(
        json.dumps(summary | {"uses_ground_truth": True, "objective": "known_factor"})
    )
    page = build_report([sweep_folder], sweep_folder / "report", ReportConfig()).read_text()
    assert "(V-measure with a known factor); ground truth was used: an upper bound" in page
    assert "badge warn" in page


@pytest.mark.parametrize("name", SUMMARY_NAMES)
def test_summary_that_lacks_a_field_is_refused_by_it(sweep_folder, edit_json, name):
    edit_json(sweep_folder / "sweep.json", lambda summary: summary.pop(name))
    with pytest.raises(UserError, match=rf"sweep\.json lacks '{name}'; remove it and run `detaux sweep` again"):
        build_sweep(sweep_folder)


@pytest.mark.parametrize("name", TRIALS_COLUMNS)
def test_table_that_lacks_a_column_is_refused_by_it(sweep_folder, name):
    path = sweep_folder / "trials.parquet"
    pyarrow.parquet.write_table(pyarrow.parquet.read_table(path).drop_columns([name]), path)
    with pytest.raises(UserError, match=rf"trials\.parquet lacks '{name}'; remove it and run `detaux sweep` again"):
        build_sweep(sweep_folder)


def test_sweep_that_found_nothing_says_so(sweep_folder):
    summary = json.loads((sweep_folder / "sweep.json").read_text())
    (sweep_folder / "sweep.json").write_text(json.dumps(summary | {"best_objective": 0.0, "has_task": False}))
    assert build_sweep(sweep_folder)["found"] == "No trial found a hidden task."


def test_sweep_stands_alone(sweep_folder, run_folder, tmp_path):
    assert is_sweep(sweep_folder)
    assert not is_sweep(run_folder)
    with pytest.raises(UserError, match="has a page of its own"):
        build_report([run_folder, sweep_folder], tmp_path / "page", ReportConfig())
