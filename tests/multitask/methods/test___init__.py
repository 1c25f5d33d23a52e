from pathlib import Path

import pytest

from detaux.config.load import iterate_fields
from detaux.multitask import methods
from detaux.multitask.methods import METHODS, register
from detaux.multitask.methods.hard_sharing import HardSharing


def test_every_method_has_the_name_of_its_file():
    files = {path.stem for path in Path(methods.__file__).parent.glob("*.py")} - {"__init__", "base"}
    assert set(METHODS) == files
    for name, method in METHODS.items():
        assert method.__module__ == f"{methods.__name__}.{name}"


def test_every_method_can_be_named_in_the_config():
    (choices,) = (entry.metadata["choices"] for key, entry, _ in iterate_fields() if key == "multitask.methods")
    assert set(METHODS) == set(choices)


def test_registered_name_stays_that_of_its_method(monkeypatch):
    monkeypatch.setattr(methods, "METHODS", dict(METHODS))

    class Mine(HardSharing):
        pass

    register("mine", Mine)
    register("mine", Mine)
    assert methods.METHODS["mine"] is Mine
    with pytest.raises(ValueError, match="'mine' is registered"):
        register("mine", HardSharing)
