"""The benchmarks are programs of one folder, which import each other by bare names."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    """load(name): the program benchmarks/NAME.py as a module. Programs start in the root of the checkout."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.chdir(FOLDER.parent)
    return importlib.import_module
