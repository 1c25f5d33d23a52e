"""The tables of accuracies and costs, and the chart of both, against summaries written by hand."""

import csv
import json

import pytest

from detaux.config.schema import ReportConfig
from detaux.report.accuracy import build_accuracy, build_methods, describe_costs
from detaux.report.accuracy_figures import draw_costs, draw_epochs
from detaux.report.build import build_report
from detaux.report.collect import load_run
from detaux.report.table import NONE


@pytest.fixture
def edit_summary(run_folder, edit_json):
    """Return a function that edits the rows of metrics.json in place and loads the run."""

    def edit(change=lambda rows: None):
        edit_json(run_folder / "multitask" / "metrics.json", lambda multitask: change(multitask["summary"]))
        return load_run(run_folder, "demo")

    return edit


def find_rows(rows, **values):
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def drop_costs(rows):
    for row in rows:
        for name in ("parameters", "steps", "seconds"):
            del row[name]


def test_accuracy_table_marks_the_choice_of_validation_beside_the_numbers_of_both_splits(run_folder, edit_json):
    """Validation chose the weight of 1, though 0.2 is better on the test split."""

    def change(multitask):
        multitask["chosen"].update(weight=1.0)
        multitask["summary"][4].update(accuracy_mean=0.9)  # weight 1 on validation

    edit_json(run_folder / "multitask" / "metrics.json", change)
    table = build_accuracy(load_run(run_folder, "demo"))
    assert [row["mark"] for row in table.rows] == ["", "", "chosen", "control", "control"]
    assert table.cells()[2][:10] == [
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


def test_methods_table_has_the_weight_that_validation_ranks_first(edit_summary):
    """Weight 1 is better on validation and worse on test. The chosen weight, here 0.2, stands for its method."""

    def change(rows):
        for row in find_rows(rows, method="hard_sharing", labels="discovered"):
            rows.append({**row, "method": "nddr"})
        find_rows(rows, method="nddr", weight=1.0, split="validation")[0]["accuracy_mean"] = 0.99

    table = build_methods(edit_summary(change))
    shown = [(row["method"], row["labels"], row["weight"], row["mark"]) for row in table.rows]
    assert shown == [
        ("stl", "none", 0.0, ""),
        ("hard_sharing", "discovered", 0.2, "chosen"),
        ("nddr", "discovered", 1.0, ""),
        ("hard_sharing", "random", 0.2, "control"),
    ]
    assert table.rows[2]["accuracy_mean"] == 0.8361  # on the test split


def test_costs_are_shown_relative_to_stl_and_kept_in_the_csv(found_page, edit_summary):
    titles, cells = build_methods(edit_summary()).columns, build_methods(edit_summary()).cells()
    assert [column.title for column in titles[-3:]] == ["Parameters, x STL", "Steps, x STL", "Seconds, x STL"]
    assert [row[-3:] for row in cells] == [["1.00"] * 3, ["1.50", "1.00", "1.45"], ["1.50", "1.00", "1.45"]]
    assert build_accuracy(edit_summary()).cells()[2][-3:] == ["1,500", "300", "22.5"]
    with (found_page.parent / "tables" / "accuracy.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["seconds"]) for row in rows] == [10.0, 14.5, 22.5, 14.5, 22.5]
    assert [float(row["seconds_ratio"]) for row in rows] == [1.0, 1.45, 2.25, 1.45, 2.25]


def test_sentence_names_the_method_that_took_longest(edit_summary):
    assert describe_costs(edit_summary()) == (
        "A training of STL took 10.0 s for 300 steps of 1,000 parameters; hard sharing took 2.2 times as long."
    )


@pytest.mark.usefixtures("unrendered")
def test_metrics_of_an_older_release_without_costs_still_give_a_report(run_folder, edit_summary):
    run = edit_summary(drop_costs)
    assert describe_costs(run) is None
    assert draw_costs(run) is None
    page = build_report([run_folder], run_folder / "report", ReportConfig())
    assert "x STL" not in page.read_text(encoding="utf-8")
    header = (page.parent / "tables" / "accuracy.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.endswith("lead_high")


def test_cost_chart_has_a_mark_and_an_interval_for_each_method(edit_summary):
    axes = draw_costs(edit_summary()).axes[0]
    names = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert names == ["STL", "hard sharing, 0.2 (chosen)"]
    points = [line for line in axes.lines if line.get_label() in names]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in points] == [
        (10.0, pytest.approx(83.12)),
        (14.5, pytest.approx(84.37)),
    ]
    intervals = [list(line.get_ydata()) for line in axes.lines if list(line.get_xdata()) == [14.5, 14.5]]
    assert intervals == [[pytest.approx(82.24), pytest.approx(86.50)]]
    assert axes.get_xscale() == "linear"


def test_cost_axis_is_logarithmic_if_a_method_takes_four_times_as_long(edit_summary):
    def change(rows):
        for row in find_rows(rows, method="hard_sharing"):
            row["seconds"] = 40.0

    assert draw_costs(edit_summary(change)).axes[0].get_xscale() == "log"


def test_cost_chart_without_intervals_still_has_its_points(edit_summary):
    def change(rows):
        for row in rows:
            row.update(accuracy_low=None, accuracy_high=None)

    lines = draw_costs(edit_summary(change)).axes[0].lines
    assert [line.get_marker() for line in lines if len(line.get_xdata()) == 1] == ["s", "o", "o"]  # "o" twice: the ring
    assert sum(len(line.get_xdata()) == 2 for line in lines) == 1  # STL's dashed line


def test_method_that_is_given_no_labels_shows_no_weight(edit_summary):
    def change(rows):
        for row in find_rows(rows, method="hard_sharing", labels="discovered", weight=1.0):
            row.update(method="maxl", labels="none", weight=0.0)

    cells = build_methods(edit_summary(change)).cells()
    assert cells[2][:3] == ["MAXL", "none given", "\N{EN DASH}"]


def test_chart_of_epochs_has_the_mean_over_seeds_of_each_setting_and_the_line_of_chance(edit_summary):
    lines = {line.get_label(): list(line.get_ydata()) for line in draw_epochs(edit_summary()).axes[0].lines}
    assert lines.keys() == {"STL", "hard sharing, 0.2 (chosen)", "1 / 4 classes"}
    assert lines["STL"] == pytest.approx([30.0, 30.0, 30.0])
    assert lines["hard sharing, 0.2 (chosen)"] == pytest.approx([30.0, 55.0, 80.0])
    assert set(lines["1 / 4 classes"]) == {25.0}


@pytest.mark.parametrize("text", ["", '{"method": "stl", "labels": "no'])
def test_run_without_curves_or_with_a_cut_line_has_no_chart_of_epochs(run_folder, edit_summary, text):
    (run_folder / "multitask" / "curves.jsonl").write_text(text)
    assert draw_epochs(edit_summary()) is None


def test_row_of_a_control_says_how_much_more_the_discovered_labels_gain(found_page, edit_summary):
    assert "Discovered labels gain more by" not in [column.title for column in build_methods(edit_summary()).columns]

    def change(rows):
        row = find_rows(rows, labels="random", weight=0.2, split="test")[0]
        row.update(lead_mean=0.0148, lead_low=-0.001, lead_high=0.0306)

    table = build_accuracy(edit_summary(change))
    place = [column.title for column in table.columns].index("Discovered labels gain more by")
    assert [row[place] for row in table.cells()] == [NONE] * 3 + ["+1.48 (\N{MINUS SIGN}0.10 to +3.06)", NONE]


def test_lines_of_many_methods_differ_by_colour_or_dash(run_folder, edit_summary):
    lines = [{"method": "stl", "labels": "none", "weight": 0.0}]
    lines += [{"method": f"method_{n}", "labels": "discovered", "weight": 0.2} for n in range(20)]
    curve = [{"accuracy": 0.5}, {"accuracy": 0.6}]
    text = "".join(json.dumps({**line, "seed": 0, "curve": curve}) + "\n" for line in lines)
    (run_folder / "multitask" / "curves.jsonl").write_text(text)

    def change(rows):
        first = find_rows(rows, method="hard_sharing", labels="discovered", weight=0.2)
        rows += [{**row, "method": f"method_{n}"} for n in range(20) for row in first]

    drawn = draw_epochs(edit_summary(change)).axes[0].lines
    styles = [(line.get_color(), line.get_linestyle()) for line in drawn if line.get_label().startswith("method")]
    assert len(styles) == len(set(styles)) == 20
