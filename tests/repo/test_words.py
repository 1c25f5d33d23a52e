"""The rules of CONTRIBUTING.md, section "Words", as far as a program can check them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = sorted(path for folder in ("detaux", "shards") for path in (ROOT / folder).rglob("*.py"))
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("detaux/**/*.md"), *ROOT.glob("shards/*.md")])
DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
NO_VERBS = {
    "A",
    "All",
    "An",
    "As",
    "At",
    "Every",
    "For",
    "From",
    "How",
    "In",
    "Of",
    "One",
    "The",
    "Whether",
    "Which",
    "Why",
}
RIDDLES = re.compile(r"^(Of|What|Where|The same of)\b")
MOST_WHERES = 200  # of code too, such as torch.where


def list_docstrings(text):
    """(kind, docstring) of everything that has one."""
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, DEFINITIONS))
    return [(type(node), docstring) for node in nodes if (docstring := ast.get_docstring(node))]


def find_poor_openings(text):
    """First lines of docstrings that do not begin as they should: those of functions with a verb."""
    return [
        docstring.splitlines()[0]
        for kind, docstring in list_docstrings(text)
        if RIDDLES.match(docstring)
        or (kind in (ast.FunctionDef, ast.AsyncFunctionDef) and docstring.split()[0] in NO_VERBS)
    ]


def test_docstrings_begin_with_a_verb():
    found = {path: find_poor_openings(path.read_text(encoding="utf-8")) for path in PACKAGE}
    assert {path: openings for path, openings in found.items() if openings} == {}


@pytest.mark.parametrize(
    ("text", "is_poor"),
    [
        ('def f():\n    """Of a batch, its size."""', True),
        ('def f():\n    """The size of a batch."""', True),
        ('def f():\n    """Return the size of a batch."""', False),
        ('class Batch:\n    """A batch of images."""', False),
        ('class Batch:\n    """What a step reads."""', True),
    ],
)
def test_poor_openings_are_found(text, is_poor):
    assert bool(find_poor_openings(text)) is is_poor


def test_where_is_rare():
    texts = (path.read_text(encoding="utf-8") for path in (*PACKAGE, *PAGES))
    assert sum(len(re.findall(r"\bwhere\b", text, re.IGNORECASE)) for text in texts) < MOST_WHERES
