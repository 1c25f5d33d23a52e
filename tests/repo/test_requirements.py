"""What pyproject.toml asks of packages, against what the installed packages say of themselves."""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [
    *PROJECT["dependencies"],
    *(one for extra in PROJECT["optional-dependencies"].values() for one in extra),
]
WITH_EXTRAS = sorted({one for one in REQUIREMENTS if Requirement(one).extras})


@pytest.mark.parametrize("requirement", WITH_EXTRAS)
def test_extras_are_spelled_as_the_package_spells_them(requirement):
    """The pip of Python 3.11 installs nothing for `name_of_extra`, with a warning, if a package writes name-of-extra."""
    wanted = Requirement(requirement)
    try:
        provided = distribution(wanted.name).metadata.get_all("Provides-Extra")
    except PackageNotFoundError:
        pytest.skip(f"{wanted.name} is not installed")
    assert wanted.extras <= set(provided)
