"""Print the lowest version of every package that pyproject.toml allows, as constraints for pip.

    python .ci/lowest.py > lowest.txt

Extras whose packages run on a GPU alone, and those of developers, are left out: what they bring need not be old.
"""

import re
import tomllib
from pathlib import Path

LEFT_OUT = ("gpu", "dev")


def list_lowest(project: dict) -> list[str]:
    """NAME==VERSION for each requirement NAME>=VERSION of a [project] table; raises ValueError at any other kind."""
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(one for name in extras if name not in LEFT_OUT for one in extras[name])]
    found = []
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)", requirement)
        if match is None:
            raise ValueError(f"{requirement!r} has no lowest version: write NAME>=VERSION")
        found.append(f"{match[1]}=={match[2]}")
    return found


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "pyproject.toml"
    print("\n".join(list_lowest(tomllib.loads(path.read_text(encoding="utf-8"))["project"])))
