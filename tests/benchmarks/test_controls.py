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


def write_part(path, summary, **chosen):
    path.parent.mkdir(exist_ok=True)
    part = {"commit": "0123456789abcdef", "seconds": 1800, "summary": summary}
    path.write_text(json.dumps({**part, "chosen": {"method": "nddr", "labels": "discovered", "weight": 0.2, **chosen}}))


def test_line_of_a_method_is_that_of_the_weight_which_validation_ranks_first(program):
    assert program.find_best(SUMMARY, "nddr", "discovered")["weight"] == 0.2
    assert program.find_best(SUMMARY, "nddr", "permuted") is None


def test_table_has_a_row_for_each_kind_of_labels_and_marks_small_p(program, tmp_path):
    write_part(tmp_path / "digits" / "nddr.json", SUMMARY)
    lines = program.make_table("digits", tmp_path)
    assert "| STL, accuracy in % | 91.20, 3 seeds |" in lines
    assert "| discovered | -2.00 (-3.00 to -1.00) |" in lines
    assert "| random | **+5.00 (+4.00 to +6.00)** |" in lines
    assert "| what validation selected | -2.00 (-3.00 to -1.00) |" in lines
    assert "Commit 0123456789; 0.5 hours." in lines
    assert program.make_table("fashion-500", tmp_path) == []


def test_harm_is_a_loss_whose_p_is_small_after_adjusting_over_all_parts(program, tmp_path):
    for method, gain, p in (("hard_sharing", -0.02, 0.02), ("nddr", -0.02, 0.012), ("mti", 0.03, 0.001)):
        summary = [line("selected", "discovered", 0.2, "test", 0.9, gain, p)]
        write_part(tmp_path / "digits" / f"{method}.json", summary, method=method)
    stl = [line("selected", "none", 0.0, "test", 0.9)]
    write_part(tmp_path / "digits" / "auxilearn_combine.json", stl, method="stl", weight=0.0)
    cells = [row.split(" | ")[1:] for row in program.make_harm_table(tmp_path)[4:-1]]
    assert cells == [
        ["hard_sharing", "discovered, weight 0.2", "-2.00 (-3.00 to -1.00)", "0.024", "yes |"],
        ["nddr", "discovered, weight 0.2", "-2.00 (-3.00 to -1.00)", "0.024", "yes |"],
        ["mti", "discovered, weight 0.2", "+3.00 (+2.00 to +4.00)", "0.003", "no |"],
        ["auxilearn_combine", "STL", "+0.00 (-1.00 to +1.00)", "-", "no |"],
    ]
    write_part(tmp_path / "digits" / "hard_sharing.json", [line("selected", "a", 1.0, "test", 0.9, -0.02, 0.04)])
    assert "| 0.040 | yes |" in program.make_harm_table(tmp_path)[4]
    write_part(tmp_path / "digits" / "hard_sharing.json", [line("selected", "a", 1.0, "test", 0.9, -0.02, 0.051)])
    assert "| 0.051 | no |" in program.make_harm_table(tmp_path)[4]
