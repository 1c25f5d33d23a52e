import dataclasses

import pytest

from detaux.config import load_config
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
        ("stl", "none", 0.0, 0.8), ("hard_sharing", "discovered", 1.0, 0.7), ("hard_sharing", "random", 1.0, 0.95)
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
