"""No file imports, by whatever way, a file that imports it: imports inside functions count, too."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def name_modules(root):
    """{dotted name: file} of every module below detaux/ and shards/."""
    files = [path for folder in ("detaux", "shards") for path in (root / folder).rglob("*.py")]
    parts = {path: path.relative_to(root).with_suffix("").parts for path in files}
    return {".".join(part[:-1] if part[-1] == "__init__" else part): path for path, part in parts.items()}


def read_imports(root):
    """{module: the modules that its file names in an import, at any depth}.

    `from package import name` is an import of the module package.name if there is one, else of the package.
    """
    modules = name_modules(root)
    graph = {}
    for module, path in modules.items():
        named = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import"
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= {name if name in modules else node.module for name in full}
        graph[module] = (named & set(modules)) - {module}
    return graph


def find_circle(root):
    """The modules of one circle of imports, in their order, or None."""
    try:
        TopologicalSorter(read_imports(root)).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_no_file_imports_a_file_that_imports_it():
    assert find_circle(ROOT) is None


@pytest.mark.parametrize("planted", ["from detaux.low import f", "def late():\n    from detaux import low"])
def test_planted_circle_is_found(tmp_path, planted):
    (tmp_path / "detaux").mkdir()
    (tmp_path / "detaux" / "low.py").write_text("import detaux.high\n\ndef f(): ...\n")
    (tmp_path / "detaux" / "high.py").write_text("import json\n")
    assert find_circle(tmp_path) is None
    (tmp_path / "detaux" / "high.py").write_text(planted)
    assert set(find_circle(tmp_path)) == {"detaux.low", "detaux.high"}
