import dataclasses

import pytest

from detaux.config import load_config
from detaux.errors import UserError
from detaux.multitask.methods import METHODS
from detaux.multitask.methods.hard_sharing import HardSharing
from detaux.multitask.trial import Trial
from detaux.multitask.trials import list_trials, select_setting


def make_rows(*settings):
    """Validation rows of two seeds for each (method, labels, weight, accuracy)."""
    return [
        {**Trial(method, labels, weight, seed).describe("validation"), "accuracy": accuracy}
        for method, labels, weight, accuracy in settings
        for seed in (0, 1)
    ]


def test_useless_task_costs_nothing_when_selected():
    config = load_config(None, []).multitask
    rows = make_rows(
        ("stl", "none", 0.0, 0.8),
        ("hard_sharing", "discovered", 1.0, 0.7),
        ("hard_sharing", "random", 1.0, 0.95),
        ("hard_sharing", "oracle", 1.0, 0.99),
    )
    assert select_setting(rows, config) == ("stl", "none", 0.0)
    assert select_setting(rows, dataclasses.replace(config, select="fixed")) == ("hard_sharing", "discovered", 1.0)


@pytest.mark.parametrize(
    ("alone", "expected"), [(0.8, ("stl", "none", 0.0)), (0.7, ("hard_sharing", "discovered", 0.2))]
)
def test_equal_accuracies_choose_stl_and_then_the_smaller_weight(alone, expected):
    shared = [("hard_sharing", "discovered", weight, 0.8) for weight in (1.0, 0.2, 0.5)]
    rows = make_rows(*shared, ("stl", "none", 0.0, alone))
    assert select_setting(rows, load_config(None).multitask) == expected


def test_trials_hold_stl_every_method_and_every_control():
    config = load_config(None, ["multitask.weights=[0.1,1]", "multitask.controls=[random,permuted]"]).multitask
    trials = list_trials(config, [0])
    assert trials[0] == Trial("stl", "none", 0.0, 0)
    assert len(trials) == 1 + 2 + 2 * 2
    assert len(set(trials)) == len(trials)


def test_rule_that_reads_the_weight_has_no_trial_of_weight_0():
    methods = "multitask.methods=[hard_sharing,hard_sharing+mgda,hard_sharing+nash_mtl]"
    config = load_config(None, ["multitask.weights=[0,1]", "multitask.controls=[]", methods]).multitask
    found = [(trial.method.partition("+")[2], trial.weight) for trial in list_trials(config, [0])[1:]]
    assert found == [("", 0.0), ("", 1.0), ("mgda", 1.0), ("nash_mtl", 1.0)]


def test_method_that_reads_no_labels_has_one_trial(monkeypatch):
    class OwnLabels(HardSharing):
        reads_labels = False

    monkeypatch.setitem(METHODS, "own_labels", OwnLabels)
    config = dataclasses.replace(load_config(None).multitask, methods=["own_labels"], controls=[])
    assert list_trials(config, [7]) == [Trial("stl", "none", 0.0, 7), Trial("own_labels", "none", 0.0, 7)]
    rows = make_rows(("stl", "none", 0.0, 0.8), ("own_labels", "none", 0.0, 0.9))
    assert select_setting(rows, config) == ("own_labels", "none", 0.0)


VARIANTS = (
    "multitask.discovery_seeds=[1]",
    "multitask.discovery_clusterers=[kmeans]",
    "multitask.controls=[entangled]",
)
RULED = "multitask.methods=[stl, hard_sharing, hard_sharing+uncertainty]"


def test_other_seeds_have_every_method_and_other_clusterers_have_hard_sharing():
    trials = list_trials(load_config(None, [*VARIANTS, RULED, "multitask.weights=[0.5]"]).multitask, [0])
    assert [(one.method, one.labels) for one in trials[3:]] == [
        ("hard_sharing", "discovered@seed1"),
        ("hard_sharing+uncertainty", "discovered@seed1"),
        ("hard_sharing", "discovered@kmeans"),
        ("hard_sharing", "entangled"),
    ]


@pytest.mark.parametrize("missing", ["discovered@seed1", "discovered@kmeans", "entangled"])
def test_variant_that_found_no_task_has_no_trials(missing):
    config = load_config(None, [*VARIANTS, RULED]).multitask
    trials = list_trials(config, [0, 1])
    assert list_trials(config, [0, 1], [missing]) == [one for one in trials if one.labels != missing] != trials


@pytest.mark.parametrize("select", ["validation", "fixed"])
def test_variant_is_never_selected(select):
    config = dataclasses.replace(load_config(None).multitask, select=select)
    found = ("hard_sharing", "discovered", 1.0)
    others = [("hard_sharing", f"discovered@{name}", 1.0, 0.9) for name in ("seed1", "kmeans")]
    assert select_setting(make_rows(("stl", "none", 0.0, 0.7), *others, (*found, 0.8)), config) == found


def test_longer_stl_is_chosen_by_validation_and_never_by_the_config():
    config = load_config(None).multitask
    fixed = dataclasses.replace(config, select="fixed")
    alone = [("stl", "none", 0.0, 0.7), ("stl_long", "none", 0.0, 0.9)]
    rows = make_rows(*alone, ("hard_sharing", "discovered", 1.0, 0.8))
    assert select_setting(rows, config) == ("stl_long", "none", 0.0)
    assert select_setting(rows, fixed) == ("hard_sharing", "discovered", 1.0)
    assert select_setting(make_rows(*alone), fixed) == ("stl", "none", 0.0)


def test_every_control_method_trains_on_every_control_at_every_weight():
    keys = ["weights=[0.1,1]", "controls=[random,correlated]", "correlated_nmi=[0.3]"]
    keys += ["control_methods=[hard_sharing,hard_sharing+uncertainty]", "methods=[stl]"]
    config = load_config(None, [f"multitask.{key}" for key in keys]).multitask
    labels = ("random", "correlated_split", "correlated_0.3")
    methods = ("hard_sharing", "hard_sharing+uncertainty")
    expected = [Trial(method, one, weight, 0) for method in methods for one in labels for weight in (0.1, 1.0)]
    assert list_trials(config, [0])[1:] == expected


def test_control_method_that_cannot_train_on_a_control_is_refused_by_name(monkeypatch):
    class OwnLabels(HardSharing):
        reads_labels = False

    class SameImages(HardSharing):
        separates_tasks = False

    monkeypatch.setitem(METHODS, "own_labels", OwnLabels)
    monkeypatch.setitem(METHODS, "same_images", SameImages)
    config = load_config(None, ["multitask.controls=[random]"]).multitask
    own, same = (dataclasses.replace(config, control_methods=[name]) for name in ("own_labels", "same_images"))
    with pytest.raises(UserError, match="control_methods has own_labels, which reads no labels"):
        list_trials(own, [0])
    assert list_trials(dataclasses.replace(own, controls=[]), [0])
    assert list_trials(same, [0])
    with pytest.raises(UserError, match="control_methods has same_images, which needs .* rotation turns images"):
        list_trials(dataclasses.replace(same, controls=["rotation"]), [0])


def test_rule_that_does_not_read_the_weight_has_one_trial():
    methods = ["hard_sharing+nash_mtl", "hard_sharing+mgda"]
    config = dataclasses.replace(load_config(None).multitask, methods=methods, controls=[], weights=[0.2, 0.5])
    settings = [trial.setting[::2] for trial in list_trials(config, [0])]
    assert settings == [("stl", 0.0), (methods[0], 1.0), (methods[1], 0.2), (methods[1], 0.5)]


def test_method_that_needs_whole_labels_is_refused_with_mixup(monkeypatch):
    class Whole(HardSharing):
        takes_mixed_labels = False

    monkeypatch.setitem(METHODS, "whole", Whole)
    config = dataclasses.replace(load_config(None, ["multitask.mixup=0.2"]).multitask, methods=["whole"])
    with pytest.raises(UserError, match=r"multitask\.mixup=0\.2 mixes labels, and whole of multitask\.methods needs"):
        list_trials(config, [0])
    assert list_trials(dataclasses.replace(config, mixup=0.0), [0])
    config = dataclasses.replace(config, methods=["stl"], control_methods=["whole"])
    with pytest.raises(UserError, match=r"and whole of multitask\.control_methods needs"):
        list_trials(config, [0])
    assert list_trials(dataclasses.replace(config, controls=[]), [0])
