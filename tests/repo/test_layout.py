import ast
import re
import tomllib
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("detaux", "shards", "tests", "benchmarks")
SOURCES = sorted(path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
PACKAGE = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in ("detaux", "shards")]
UNMIRRORED = ("repo", "golden")  # folders of tests/ whose files test no single source file
WHOLE_FOLDERS = {
    "multitask/methods/test_host_reads.py",
    "losses/test_terms.py",
    "losses/kernels/test_compiled.py",
    "discover/clusterers/kernels/test_compiled.py",
    "disentangle/test_ranks.py",
    "sweep/test_cluster.py",
}  # test every file of their folder alike
MAX_LINES, MAX_FUNCTION, MAX_CLASS = 400, 60, 150


def locate_sources(test):
    """Files a test file may be named after: same folder below detaux/ or shards/, same stem."""
    folder = test.relative_to(ROOT / "tests").parent
    stem = test.stem.removeprefix("test_")
    roots = (ROOT / "detaux", ROOT)
    return [found for root in roots for found in (root / folder).glob(f"{stem}.*") if (root / folder).is_dir()]


def test_python_files_are_short():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def list_classes(text):
    return [node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]


def test_no_two_files_of_the_package_have_classes_of_one_name():
    counts = Counter(name for path in PACKAGE for name in list_classes(path.read_text(encoding="utf-8")))
    assert {name for name, count in counts.items() if count > 1} == set()


def measure_lengths(text):
    """(name, lines, the most lines) of every function and class of a file, nested ones included."""
    limits = {ast.FunctionDef: MAX_FUNCTION, ast.AsyncFunctionDef: MAX_FUNCTION, ast.ClassDef: MAX_CLASS}
    nodes = [node for node in ast.walk(ast.parse(text)) if type(node) in limits]
    return [(node.name, node.end_lineno - node.lineno + 1, limits[type(node)]) for node in nodes]


def test_functions_and_classes_are_short():
    """A kernel may be long: it cannot be parted without calls that its compiler would have to inline."""
    paths = [path for path in PACKAGE if "kernels" not in path.parts]
    lengths = [(path, *one) for path in paths for one in measure_lengths(path.read_text(encoding="utf-8"))]
    assert [one for one in lengths if one[2] > one[3]] == []


def test_long_function_and_class_are_found():
    body = "\n".join(["    pass"] * 60)
    assert measure_lengths(f"class Room:\n{body}\ndef work():\n{body}") == [("Room", 61, 150), ("work", 61, 60)]


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
    lines = [line for path in PACKAGE for line in path.read_text(encoding="utf-8").splitlines() if pattern.search(line)]
    assert lines == ["class Terminal(Console):"]
