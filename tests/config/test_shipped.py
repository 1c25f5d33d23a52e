"""Files beside the code, in a checkout and as pip installs them."""

import importlib.metadata
import tomllib
import types
from pathlib import Path

import pytest

from detaux.config import shipped
from detaux.config.shipped import find_shipped
from detaux.report.published import DATASETS

ROOT = Path(__file__).parents[2]
NAMES = ["launch/slurm.sbatch", *(f"configs/paper/{name}.yaml" for name in DATASETS)]


@pytest.mark.parametrize("name", NAMES)
def test_file_of_a_checkout_is_found(name):
    assert find_shipped(name) == ROOT / name


@pytest.mark.parametrize("name", NAMES)
def test_file_is_found_where_pip_installs_it(name, monkeypatch, tmp_path):
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    folder = f"share/detaux/{name.rpartition('/')[0]}"
    assert ROOT / name in [path for pattern in packaged[folder] for path in ROOT.glob(pattern)]
    installed = importlib.metadata.PackagePath(f"../../../share/detaux/{name}")
    installed.dist = types.SimpleNamespace(locate_file=lambda path: tmp_path / path)
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "site-packages" / "detaux" / "config" / "shipped.py"))
    monkeypatch.setattr(importlib.metadata, "files", lambda package: [installed] if package == "detaux" else None)
    assert find_shipped(name) == tmp_path / installed
    assert find_shipped("configs/paper/absent.yaml") is None


def test_configs_of_the_paper_that_are_installed_need_no_other_file():
    for name in DATASETS:
        assert "base:" not in (ROOT / "configs" / "paper" / f"{name}.yaml").read_text(encoding="utf-8")
