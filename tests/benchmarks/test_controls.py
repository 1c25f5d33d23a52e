import json

import pytest

from detaux.config import load_config


@pytest.fixture
def program(load):
    return load("controls")


def line(method, labels, weight, split, accuracy, gain=0.0, p=None, kind="method"):
    names = {"kind": kind, "method": method, "labels": labels, "weight": weight, "split": split, "seeds": 3}
    gains = {"gain_mean": gain, "gain_low": gain - 0.01, "gain_high": gain + 0.01, "gain_p": p}
    return {**names, **gains, "accuracy_mean": accuracy}


def make_rows():
    """Rows of three seeds: validation prefers weight 0.2 of the discovered labels, and the test split weight 1."""
    accuracies = {
        ("stl", "none", 0.0): (0.90, 0.91),
        ("nddr", "discovered", 0.2): (0.93, 0.89),
        ("nddr", "discovered", 1.0): (0.92, 0.95),
        ("nddr", "random", 0.2): (0.90, 0.94),
        ("nddr", "random", 1.0): (0.95, 0.97),
    }
    kinds = {"none": "stl", "discovered": "method", "random": "control"}
    costs = {"parameters": 1, "steps": 1, "seconds": 1.0}
    return [
        {
            "kind": kinds[labels],
            "method": method,
            "labels": labels,
            "weight": weight,
            "seed": seed,
            **costs,
            "split": split,
            "accuracy": accuracy + (0.01 * seed if method != "stl" else 0.0),
        }
        for (method, labels, weight), pair in accuracies.items()
        for split, accuracy in zip(("validation", "test"), pair, strict=True)
        for seed in range(3)
    ]


def write_part(path, summary=(), rows=(), **chosen):
    path.parent.mkdir(exist_ok=True)
    part = {"commit": "0123456789abcdef", "seconds": 1800, "summary": list(summary), "rows": list(rows)}
    path.write_text(json.dumps({**part, "chosen": {"method": "nddr", "labels": "discovered", "weight": 0.2, **chosen}}))


def test_tables_show_all_labels_at_the_weight_that_validation_ranks_first_for_the_discovered_ones(program, tmp_path):
    write_part(tmp_path / "digits" / "nddr.json", rows=make_rows())
    lines = program.make_table("digits", tmp_path)
    assert "| STL, accuracy in % | 91.00, 3 seeds |" in lines
    assert "| weight of the rows below | 0.2 |" in lines
    assert "| discovered | -1.00 (-3.48 to +1.48) |" in lines
    assert "| random | +4.00 (+1.52 to +6.48) |" in lines
    assert lines.index("| random | -5.00 |") > lines.index(
        "**Digits, odd or even, 121 labels**: points that the discovered labels gain more than"
    )
    assert "Commit 0123456789; 0.5 hours." in lines
    assert program.make_table("fashion-500", tmp_path) == []


def test_stl_of_mti_has_its_backbone(program):
    config = load_config(None, program.METHOD_KEYS["mti"]).multitask
    assert config.backbone == config.mti.backbone


def test_harm_is_a_loss_whose_p_is_small_after_adjusting_over_all_parts(program, tmp_path):
    for method, gain, p in (("hard_sharing", -0.02, 0.02), ("nddr", -0.02, 0.012), ("mti", 0.03, 0.001)):
        summary = [line("selected", "discovered", 0.2, "test", 0.9, gain, p)]
        write_part(tmp_path / "digits" / f"{method}.json", summary, method=method)
    stl = [line("selected", "none", 0.0, "test", 0.9)]
    write_part(tmp_path / "digits" / "auxilearn_combine.json", stl, method="stl", weight=0.0)
    cells = [row.split(" | ")[1:] for row in program.make_harm_table(tmp_path)[4:]]
    assert cells == [
        ["hard_sharing", "discovered, weight 0.2", "-2.00 (-3.00 to -1.00)", "0.024", "yes |"],
        ["nddr", "discovered, weight 0.2", "-2.00 (-3.00 to -1.00)", "0.024", "yes |"],
        ["mti", "discovered, weight 0.2", "+3.00 (+2.00 to +4.00)", "0.003", "not shown |"],
        ["auxilearn_combine", "STL", "+0.00 (-1.00 to +1.00)", "-", "not shown |"],
    ]
    write_part(tmp_path / "digits" / "hard_sharing.json", [line("selected", "a", 1.0, "test", 0.9, -0.02, 0.04)])
    assert "| 0.040 | yes |" in program.make_harm_table(tmp_path)[4]
    write_part(tmp_path / "digits" / "hard_sharing.json", [line("selected", "a", 1.0, "test", 0.9, -0.02, 0.051)])
    assert "| 0.051 | not shown |" in program.make_harm_table(tmp_path)[4]
