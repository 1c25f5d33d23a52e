"""What validation chose, read from summaries in which another setting is best on the test split."""

import pytest

from detaux.report.effect import Effect, find_choice, find_effect, find_rival, select_rows

STL = ("stl", "none", 0.0)
SETTINGS = {  # accuracies on validation and test, and the gain on test
    ("hard_sharing", "random", 1.0): (0.95, 0.99, 0.19),
    ("hard_sharing", "discovered", 1.0): (0.70, 0.90, 0.10),
    ("hard_sharing", "discovered", 0.2): (0.85, 0.82, 0.02),
    ("hard_sharing+uncertainty", "discovered", 0.5): (0.75, 0.70, -0.10),
    STL: (0.80, 0.80, 0.0),
}


def make_multitask(chosen):
    """A metrics.json whose validation chose a setting; each gain's interval reaches a point to both sides."""
    kinds = {"stl": "stl", "random": "control"}
    names = ("method", "labels", "weight", "split", "accuracy_mean", "gain_mean", "gain_low", "gain_high")
    summary = [
        {
            **dict(zip(names, (*setting, split, accuracy, gain, gain - 0.01, gain + 0.01), strict=True)),
            "kind": next((kinds[name] for name in setting[:2] if name in kinds), "method"),
            "seeds": 3,
        }
        for setting, (validation, test, gain) in SETTINGS.items()
        for split, accuracy in (("validation", validation), ("test", test))
    ]
    return {"summary": summary, "chosen": dict(zip(names, chosen, strict=False))}


@pytest.mark.parametrize("chosen", [one for one in SETTINGS if "random" not in one])
def test_choice_is_that_of_validation_whatever_the_test_split_says(chosen):
    row = find_choice(make_multitask(chosen), "test")
    assert (row["method"], row["labels"], row["weight"], row["split"]) == (*chosen, "test")


def test_effect_of_a_chosen_setting_is_its_own_on_the_test_split():
    effect = find_effect(make_multitask(("hard_sharing+uncertainty", "discovered", 0.5)))
    expected = Effect(
        "method", "hard_sharing+uncertainty", "discovered", 0.5, 3, *(pytest.approx(gain) for gain in (-10, -11, -9))
    )
    assert effect == expected
    assert effect.verdict == "a loss"


def test_effect_beside_a_chosen_stl_is_of_the_setting_that_validation_ranks_first():
    """Neither of the control, which is best on both splits, nor of the setting that is best on the test split."""
    effect = find_effect(make_multitask(STL))
    assert effect == Effect(
        "method", "hard_sharing", "discovered", 0.2, 3, *(pytest.approx(gain) for gain in (2, 1, 3))
    )


@pytest.mark.parametrize("split", ["validation", "test"])
def test_rows_of_a_split_stand_in_the_order_of_the_settings_and_not_of_their_accuracies(split):
    rows = select_rows(make_multitask(STL), split)
    control, *others, stl = SETTINGS
    assert [(row["method"], row["labels"], row["weight"]) for row in rows] == [stl, *others, control]
    assert {row["split"] for row in rows} == {split}


def add_controls(*rows):
    """A metrics.json with a chosen gain of 10 points at weight 1, and controls (method, labels, gain) at this weight."""
    multitask = make_multitask(("hard_sharing", "discovered", 1.0))
    chosen = find_choice(multitask, "test")
    multitask["summary"] = [row for row in multitask["summary"] if row["kind"] != "control"]
    for method, labels, gain in rows:
        kind = "upper_bound" if labels == "oracle" else "control"
        multitask["summary"].append({**chosen, "kind": kind, "method": method, "labels": labels, "gain_mean": gain})
    return multitask


@pytest.mark.parametrize(
    ("controls", "expected"),
    [
        ([("hard_sharing", "oracle", 0.5)], None),
        ([("hard_sharing", "correlated_1", 0.5), ("hard_sharing", "within_class", 0.1)], "within_class"),
        ([("hard_sharing", "within_class", 0.5), ("hard_sharing", "constant", 0.1)], "constant"),
        ([("hard_sharing", "correlated_split", 0.5), ("hard_sharing", "random", 0.09)], "correlated_split"),
        ([("mti", "random", 0.5), ("hard_sharing", "random", 0.0)], None),  # by the same method it gains nothing
        ([("mti", "random", 0.5), ("hard_sharing", "permuted", 0.0)], "random"),
    ],
)
def test_rival_is_the_control_that_explains_most_and_never_an_upper_bound(controls, expected):
    multitask = add_controls(*controls)
    rival = find_rival(multitask, find_effect(multitask))
    assert (rival and rival.labels) == expected


def test_best_setting_beside_a_chosen_stl_is_no_upper_bound():
    multitask = add_controls(("hard_sharing", "oracle", 0.5))
    multitask["chosen"] = {"method": "stl", "labels": "none", "weight": 0.0}
    multitask["summary"] += [
        {**row, "split": "validation", "accuracy_mean": 0.99}
        for row in multitask["summary"]
        if row["labels"] == "oracle"
    ]
    assert find_effect(multitask).labels == "discovered"
