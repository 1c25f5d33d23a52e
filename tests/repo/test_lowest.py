import importlib.util
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def list_lowest():
    spec = importlib.util.spec_from_file_location("lowest", ROOT / ".ci" / "lowest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.list_lowest


def test_lowest_versions_are_those_of_the_requirements(list_lowest):
    project = {
        "dependencies": ["one>=2.11"],
        "optional-dependencies": {"more": ["two[a,b]>=0.1.7"], "dev": ["three>=1"]},
    }
    assert list_lowest(project) == ["one==2.11", "two==0.1.7"]


@pytest.mark.parametrize("requirement", ["one", "one>2", "one>=2,<3", "one~=2.1"])
def test_requirement_without_a_lowest_version_is_refused(list_lowest, requirement):
    with pytest.raises(ValueError, match="has no lowest version"):
        list_lowest({"dependencies": [requirement], "optional-dependencies": {}})


def test_every_dependency_of_this_project_has_a_lowest_version(list_lowest):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert len(list_lowest(project)) > len(project["dependencies"])
