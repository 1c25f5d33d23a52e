import json

import pytest


@pytest.fixture
def program(load):
    return load("controls")


def line(method, labels, weight, split, accuracy, gain=0.0, p=None, kind="method"):
    names = {"kind": kind, "method": method, "labels": labels, "weight": weight, "split": split, "seeds": 3}
    gains = {"gain_mean": gain, "gain_low": gain - 0.01, "gain_high": gain + 0.01, "gain_p": p}
    return {**names, **gains, "accuracy_mean": accuracy}


SUMMARY = [
    line("stl", "none", 0.0, "validation", 0.90, kind="stl"),
    line("stl", "none", 0.0, "test", 0.912, kind="stl"),
    line("nddr", "discovered", 0.2, "validation", 0.93),
    line("nddr", "discovered", 1.0, "validation", 0.92),
    line("nddr", "discovered", 0.2, "test", 0.90, -0.02, 0.3),
    line("nddr", "discovered", 1.0, "test", 0.95, 0.03, 0.01),
    line("nddr", "random", 1.0, "validation", 0.90, kind="control"),
    line("nddr", "random", 1.0, "test", 0.97, 0.05, 0.02, kind="control"),
    line("selected", "discovered", 0.2, "validation", 0.93),
    line("selected", "discovered", 0.2, "test", 0.90, -0.02, 0.3),
]


def test_line_of_a_method_is_that_of_the_weight_which_validation_ranks_first(program):
    assert program.find_best(SUMMARY, "nddr", "discovered")["weight"] == 0.2
    assert program.find_best(SUMMARY, "nddr", "permuted") is None


def test_table_has_a_row_for_each_kind_of_labels_and_marks_small_p(program, tmp_path):
    path = tmp_path / "digits" / "nddr.json"
    path.parent.mkdir()
    part = {"commit": "0123456789abcdef", "seconds": 1800, "summary": SUMMARY}
    path.write_text(json.dumps({**part, "chosen": {"labels": "discovered"}}))
    lines = program.make_table("digits", tmp_path)
    assert "| STL, accuracy in % | 91.20, 3 seeds |" in lines
    assert "| discovered | -2.00 (-3.00 to -1.00) |" in lines
    assert "| random | **+5.00 (+4.00 to +6.00)** |" in lines
    assert "| what validation selected | -2.00 (-3.00 to -1.00) |" in lines
    assert "Commit 0123456789; 0.5 hours." in lines
    assert program.make_table("fashion-500", tmp_path) == []
