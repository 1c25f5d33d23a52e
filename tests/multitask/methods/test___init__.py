from pathlib import Path

import pytest

from detaux.config.load import iterate_fields
from detaux.config.schema.methods import JOINT_METHODS, RULES
from detaux.multitask import methods
from detaux.multitask.aggregators import AGGREGATORS
from detaux.multitask.methods import METHODS, register
from detaux.multitask.methods.hard_sharing import HardSharing
from detaux.multitask.methods.joint import JointTraining
from detaux.multitask.weightings import FIXED, WEIGHTINGS


def test_every_method_has_the_name_of_its_file():
    files = {path.stem for path in Path(methods.__file__).parent.glob("*.py")} - {
        "__init__",
        "base",
        "joint",
        "learned_loss",
    }
    assert set(METHODS) == files
    for name, method in METHODS.items():
        assert method.__module__ == f"{methods.__name__}.{name}"


def test_every_method_can_be_named_in_the_config():
    (choices,) = (entry.metadata["choices"] for key, entry, _ in iterate_fields() if key == "multitask.methods")
    assert set(METHODS) == {choice.partition("+")[0] for choice in choices}


def test_only_methods_that_train_tasks_together_take_a_rule():
    assert {name for name, method in METHODS.items() if issubclass(method, JointTraining)} == {
        "stl",
        "stl_long",
        "balanced",
        *JOINT_METHODS,
    }


def test_every_rule_can_be_named_in_the_config_and_is_of_one_kind():
    assert sorted([*WEIGHTINGS, *AGGREGATORS]) == sorted([FIXED, *RULES])


def test_registered_name_stays_that_of_its_method(monkeypatch):
    monkeypatch.setattr(methods, "METHODS", dict(METHODS))

    class Mine(HardSharing):
        pass

    register("mine", Mine)
    register("mine", Mine)
    assert methods.METHODS["mine"] is Mine
    with pytest.raises(ValueError, match="'mine' is registered"):
        register("mine", HardSharing)
