import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("detaux", "shards", "tests", "benchmarks")
SOURCES = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
UNMIRRORED = ("repo", "golden")  # folders of tests/ whose files test no single source file
WHOLE_FOLDERS = {
    "losses/test_terms.py",
    "losses/kernels/test_compiled.py",
    "discover/clusterers/kernels/test_compiled.py",
    "disentangle/test_ranks.py",
    "sweep/test_cluster.py",
}  # test every file of their folder alike
MAX_LINES = 400


def locate_sources(test):
    """Files a test file may be named after: same folder below detaux/ or shards/, same stem."""
    folder = test.relative_to(ROOT / "tests").parent
    stem = test.stem.removeprefix("test_")
    roots = (ROOT / "detaux", ROOT)
    return [found for root in roots for found in (root / folder).glob(f"{stem}.*") if (root / folder).is_dir()]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_file_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_every_test_file_is_named_after_a_source_file():
    tests = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if path.parent.name not in UNMIRRORED]
    assert tests
    strays = {str(path.relative_to(ROOT / "tests")) for path in tests if not locate_sources(path)}
    assert strays <= WHOLE_FOLDERS


def test_tests_have_no_packages():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_every_data_file_of_the_package_is_packaged():
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    patterns = [f"{package.replace('.', '/')}/{pattern}" for package in packaged for pattern in packaged[package]]
    data = [
        path for path in (ROOT / "detaux").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc", ".md")
    ]
    assert data
    for path in data:
        assert any(fnmatch(str(path.relative_to(ROOT)), pattern) for pattern in patterns), path


def test_ci_runs_make_test_and_nothing_else():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_source_has_no_leftovers():
    pattern = re.compile(r"\b(TODO|FIXME|XXX|breakpoint\(\)|pdb)\b|/(?:home|Users|work|root)/\w")
    found = [
        str(path) for path in SOURCES if path != Path(__file__) and pattern.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_console_ends_as_the_command_line_wants():
    """A console of rich ends the process itself, with exit code 1, when the reader of its output has gone."""
    pattern = re.compile(r"\bConsole\b\)?[(:]|\brich\.print\b|from rich import .*\bprint\b")
    sources = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ("detaux", "shards")]
    lines = [line for path in sources for line in path.read_text(encoding="utf-8").splitlines() if pattern.search(line)]
    assert lines == ["class Terminal(Console):"]
