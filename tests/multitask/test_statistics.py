import math

import pytest

from detaux.multitask.statistics import adjust_holm, compute_interval, compute_paired_p, summarize


def row(method, labels, weight, seed, accuracy, split="test"):
    kinds = {"none": "stl", "discovered": "method", "oracle": "upper_bound"}
    setting = {"kind": kinds.get(labels, "control"), "method": method, "labels": labels, "weight": weight}
    costs = {"parameters": 100 * weight, "steps": 10, "seconds": 1.0 + seed}
    return {**setting, "seed": seed, "split": split, "accuracy": accuracy, **costs}


def test_interval_matches_hand_computed_t():
    mean, low, high = compute_interval([0.80, 0.84, 0.88])
    half = 4.302652729911275 * 0.04 / math.sqrt(3)  # t(0.975, 2) * sd / sqrt(n)
    assert mean == pytest.approx(0.84)
    assert (low, high) == (pytest.approx(0.84 - half), pytest.approx(0.84 + half))


def test_interval_of_one_seed_is_unknown():
    assert compute_interval([0.5]) == (0.5, None, None)


def test_equal_values_show_no_spread_and_give_no_interval():
    assert compute_interval([0.05, 0.05, 0.05 + 1e-17]) == (pytest.approx(0.05), None, None)


def test_gain_is_paired_by_seed():
    rows = [row("stl", "none", 0.0, seed, value) for seed, value in enumerate((0.5, 0.7, 0.9))]
    rows += [row("hard_sharing", "discovered", 1.0, seed, value) for seed, value in enumerate((0.51, 0.72, 0.93))]
    line = summarize(rows)[1]
    assert line["gain_mean"] == pytest.approx(0.02)
    half = 4.302652729911275 * 0.01 / math.sqrt(3)  # far narrower than the spread of the accuracies
    assert line["gain_low"] == pytest.approx(0.02 - half)
    assert line["gain_high"] == pytest.approx(0.02 + half)


def test_stl_gains_nothing_over_itself():
    line = summarize([row("stl", "none", 0.0, seed, 0.1 * seed) for seed in range(3)])[0]
    assert (line["gain_mean"], line["gain_low"], line["gain_high"], line["gain_p"]) == (0.0, None, None, None)


def test_costs_of_a_line_are_means_over_its_seeds():
    rows = [row("stl", "none", 0.0, seed, 0.5) for seed in range(3)]
    line = summarize(rows)[0]
    assert (line["parameters"], line["steps"], line["seconds"]) == (0.0, 10.0, 2.0)


def test_splits_are_summarized_apart():
    rows = [row("stl", "none", 0.0, 0, 0.5, split) for split in ("validation", "test")]
    assert [(line["split"], line["seeds"]) for line in summarize(rows)] == [("validation", 1), ("test", 1)]


def test_holm_matches_hand_computed_adjustment():
    assert adjust_holm([0.01, 0.04, 0.03, None]) == [
        pytest.approx(0.03),
        pytest.approx(0.06),
        pytest.approx(0.06),
        None,
    ]


def test_paired_p_of_equal_differences_is_unknown():
    assert compute_paired_p([0.0, 0.0, 0.0]) is None
    assert compute_paired_p([0.05, 0.05]) is None
    assert compute_paired_p([0.01]) is None
    assert compute_paired_p([0.1, 0.11, 0.09]) < 0.01


def test_gains_of_the_methods_on_a_split_are_adjusted_together_as_by_hand():
    """Of three differences with mean m and deviation s, t = m / s * sqrt(3) and p = 1 - t / sqrt(t^2 + 2)."""
    changes = {0.1: (0.01, 0.02, 0.03), 0.2: (0.03, 0.04, 0.05), 0.3: (-0.01, 0.0, 0.02), 0.4: (-0.01, 0.0, 0.01)}
    rows = [row("stl", "none", 0.0, seed, 0.5, split) for seed in range(3) for split in ("validation", "test")]
    for weight, gains in changes.items():
        rows += [row("hard_sharing", "discovered", weight, seed, 0.5 + gain) for seed, gain in enumerate(gains)]
    for seed, gain in enumerate(changes[0.1]):  # the only gain of its split, and a repetition
        rows += [row("hard_sharing", "discovered", 0.1, seed, 0.5 + gain, "validation")]
        rows += [row("selected", "discovered", 0.1, seed, 0.5 + gain, split) for split in ("validation", "test")]
    first, second = (1 - t / math.sqrt(t**2 + 2) for t in (2 * math.sqrt(3), 4 * math.sqrt(3)))
    expected = {0.1: 3 * first, 0.2: 4 * second, 0.3: 1.0, 0.4: 1.0}  # the last two by the cap
    lines = {(line["method"], line["weight"], line["split"]): line["gain_p"] for line in summarize(rows)}
    for weight, p in expected.items():
        assert lines["hard_sharing", weight, "test"] == pytest.approx(p)
    assert lines["hard_sharing", 0.1, "validation"] == pytest.approx(first)
    assert lines["selected", 0.1, "test"] == pytest.approx(first)  # one test, chosen by other data
    assert lines["selected", 0.1, "validation"] is None


def test_gains_of_methods_controls_and_upper_bounds_are_families_of_their_own():
    gains = (0.01, 0.02, 0.03)  # t = 2 sqrt(3) in every row
    rows = [row("stl", "none", 0.0, seed, 0.5) for seed in range(3)]
    rows += [
        row("hard_sharing", labels, weight, seed, 0.5 + gain)
        for labels, weights in (
            ("discovered", (0.1, 0.2)),
            ("random", (0.1, 0.2)),
            ("rotation", (0.1,)),
            ("oracle", (1,)),
        )
        for weight in weights
        for seed, gain in enumerate(gains)
    ]
    p = 1 - 2 * math.sqrt(3) / math.sqrt(14)
    found = {(line["labels"], line["weight"]): line["gain_p"] for line in summarize(rows) if line["kind"] != "stl"}
    families = {"discovered": 2, "random": 3, "rotation": 3, "oracle": 1}
    assert found == {(labels, weight): pytest.approx(families[labels] * p) for labels, weight in found}


def test_selected_stl_is_no_test_of_anything():
    rows = [row(method, "none", 0.0, seed, 0.1 * seed) for method in ("stl", "selected") for seed in range(3)]
    assert [line["gain_p"] for line in summarize(rows)] == [None, None]


def test_lead_over_a_control_is_paired_by_seed_method_and_weight():
    rows = [row("stl", "none", 0.0, seed, 0.5) for seed in range(3)]
    rows += [row("nddr", "discovered", 1.0, seed, value) for seed, value in enumerate((0.6, 0.8, 0.7))]
    rows += [row("nddr", "random", 1.0, seed, value) for seed, value in enumerate((0.59, 0.78, 0.67))]
    rows += [row("nddr", "oracle", 1.0, seed, 0.9) for seed in range(3)]
    rows += [row("nddr", "random", 0.2, seed, 0.5) for seed in range(3)]
    rows += [row("hard_sharing", "random", 1.0, seed, 0.5) for seed in range(3)]
    lines = {(line["method"], line["labels"], line["weight"]): line for line in summarize(rows)}
    half = 4.302652729911275 * 0.01 / math.sqrt(3)
    control = lines["nddr", "random", 1.0]
    assert control["lead_mean"] == pytest.approx(0.02)
    assert (control["lead_low"], control["lead_high"]) == (pytest.approx(0.02 - half), pytest.approx(0.02 + half))
    assert lines["nddr", "oracle", 1.0]["lead_mean"] == pytest.approx(-0.2)
    for setting in (("nddr", "random", 0.2), ("hard_sharing", "random", 1.0), ("nddr", "discovered", 1.0)):
        assert lines[setting]["lead_mean"] is None
