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


def test_method_that_needs_whole_labels_is_refused_with_mixup(monkeypatch):
    class Whole(HardSharing):
        takes_mixed_labels = False

    monkeypatch.setitem(METHODS, "whole", Whole)
    config = dataclasses.replace(load_config(None, ["multitask.mixup=0.2"]).multitask, methods=["whole"])
    with pytest.raises(UserError, match=r"multitask\.mixup=0\.2 mixes labels, and whole of multitask\.methods needs"):
        list_trials(config, [0])
    assert list_trials(dataclasses.replace(config, mixup=0.0), [0])
