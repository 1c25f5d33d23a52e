"""The names of the files that stages leave, against the source: each stands once."""

import ast
from pathlib import Path

from detaux import artefacts

ROOT = Path(__file__).parents[1]
NAMES = {value for name, value in vars(artefacts).items() if name.endswith("_NAME")}
FILES = {str(value) for name, value in vars(artefacts).items() if name.endswith("_FILE")}
WORDS = {artefacts.CHECKPOINT_NAME, artefacts.STATES_NAME, artefacts.VARIANTS_NAME}  # which mean other things too


def list_texts(path):
    """The string constants of a source file, without docstrings and the pieces of f-strings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_source_names_no_artefact_by_itself():
    paths = [path for top in ("detaux", "shards") for path in (ROOT / top).rglob("*.py") if path.stem != "artefacts"]
    named = {path: list_texts(path) & ((NAMES | FILES) - WORDS) for path in paths}
    assert len(named) > 100
    assert {path: names for path, names in named.items() if names} == {}


def test_names_differ():
    names = [value for name, value in vars(artefacts).items() if name.endswith(("_NAME", "_FILE"))]
    assert len(set(map(str, names))) == len(names)
