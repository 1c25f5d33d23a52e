"""What validation chose, read from summaries in which another setting is best on the test split."""

import pytest

from detaux.report.effect import (
    Effect,
    find_bounds,
    find_choice,
    find_control,
    find_effect,
    find_rival,
    judge_effect,
    select_rows,
)

STL = ("stl", "none", 0.0)
SETTINGS = {  # accuracies on validation and test, and the gain on test
    ("hard_sharing", "discovered@seed1", 1.0): (0.96, 0.98, 0.18),
    ("hard_sharing", "random", 1.0): (0.95, 0.99, 0.19),
    ("hard_sharing", "discovered", 1.0): (0.70, 0.90, 0.10),
    ("hard_sharing", "discovered", 0.2): (0.85, 0.82, 0.02),
    ("hard_sharing+uncertainty", "discovered", 0.5): (0.75, 0.70, -0.10),
    STL: (0.80, 0.80, 0.0),
}


def make_multitask(chosen):
    """A metrics.json whose validation chose a setting; each gain's interval reaches a point to both sides."""
    kinds = {"stl": "stl", "random": "control", "discovered@seed1": "variant"}
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


@pytest.mark.parametrize("chosen", list(SETTINGS)[2:])
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
    """Neither of the variant and the control, which are best on both splits, nor of the best setting of the test split."""
    effect = find_effect(make_multitask(STL))
    assert effect == Effect(
        "method", "hard_sharing", "discovered", 0.2, 3, *(pytest.approx(gain) for gain in (2, 1, 3))
    )


@pytest.mark.parametrize("split", ["validation", "test"])
def test_rows_of_a_split_stand_in_the_order_of_the_settings_and_not_of_their_accuracies(split):
    rows = select_rows(make_multitask(STL), split)
    variant, control, *others, stl = SETTINGS
    assert [(row["method"], row["labels"], row["weight"]) for row in rows] == [stl, *others, variant, control]
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


@pytest.mark.parametrize(
    ("gain", "low", "verdict"),
    [
        (0.05, 0.01, "a gain"),
        (0.05, -0.01, "a gain, not told apart from within class labels"),
        (0.05, None, "a gain"),  # one seed: the higher gain decides
        (0.1, -0.01, "a gain, as with within class labels"),
    ],
)
def test_gain_stands_if_the_paired_difference_to_each_control_is_above_zero(gain, low, verdict):
    multitask = add_controls(("hard_sharing", "within_class", gain))
    multitask["summary"][-1].update(lead_mean=0.1 - gain, lead_low=low, lead_high=low and 0.2)
    assert judge_effect(multitask, find_effect(multitask)) == verdict


def test_control_that_gains_as_much_is_named_before_one_that_is_only_not_told_apart():
    multitask = add_controls(("hard_sharing", "random", 0.09), ("hard_sharing", "correlated_1", 0.11))
    for row in multitask["summary"][-2:]:
        row.update(lead_mean=0.1 - row["gain_mean"], lead_low=-0.05, lead_high=0.05)
    assert find_rival(multitask, find_effect(multitask)).labels == "correlated_1"


def test_best_setting_beside_a_chosen_stl_is_no_upper_bound():
    multitask = add_controls(("hard_sharing", "oracle", 0.5))
    multitask["chosen"] = {"method": "stl", "labels": "none", "weight": 0.0}
    multitask["summary"] += [
        {**row, "split": "validation", "accuracy_mean": 0.99}
        for row in multitask["summary"]
        if row["labels"] == "oracle"
    ]
    assert find_effect(multitask).labels == "discovered"


def add_rows(multitask, kind, setting, validation, gain):
    """Add a setting's rows of both splits; each gain's interval reaches a point to both sides."""
    line = {**dict(zip(("method", "labels", "weight"), setting, strict=True)), "kind": kind, "seeds": 3}
    line |= {"gain_mean": gain, "gain_low": gain - 0.01, "gain_high": gain + 0.01}
    for split, accuracy in (("validation", validation), ("test", 0.8 + gain)):
        multitask["summary"].append({**line, "split": split, "accuracy_mean": accuracy})


@pytest.mark.parametrize("chosen", [STL, ("stl_long", "none", 0.0)])
def test_longer_stl_is_no_effect_of_the_hidden_task_and_no_control(chosen):
    multitask = make_multitask(chosen)
    add_rows(multitask, "baseline", ("stl_long", "none", 0.0), 0.99, 0.15)
    effect = find_effect(multitask)
    assert (effect.method, effect.weight) == ("hard_sharing", 0.2)
    rows = select_rows(multitask, "test")
    assert [row["method"] for row in rows[:3]] == ["stl", "stl_long", "hard_sharing"]
    assert find_rival(multitask, Effect("method", "hard_sharing", "discovered", 0.0, 3, 1.0, 0.5, 1.5)) is None


def test_gain_without_the_discovered_labels_is_judged_without_controls_of_these_labels():
    multitask = add_controls(("hard_sharing", "random", 0.5), ("hard_sharing", "oracle", 0.5))
    for row in multitask["summary"]:
        row.update(weight=0.0)
    add_rows(multitask, "method", ("maxl", "none", 0.0), 0.9, 0.05)
    multitask["chosen"] = {"method": "maxl", "labels": "none", "weight": 0.0}
    effect = find_effect(multitask)
    assert (effect.method, effect.has_discovered_labels) == ("maxl", False)
    assert (find_rival(multitask, effect), find_control(multitask, effect), find_bounds(multitask, effect)) == (
        None,
        None,
        [],
    )
    assert judge_effect(multitask, effect) == "a gain, without the discovered labels"
