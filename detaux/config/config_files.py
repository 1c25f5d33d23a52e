"""Read config files. A file may name others under `base`: it takes their values and changes some."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from detaux.config.location import expand_path
from detaux.config.read_yaml import Scalar, read_yaml, take_values
from detaux.errors import UserError

BASE = "base"
ONLY_BASE = "_"  # begins the name of a file that other files are based on and that is no config by itself
MOST_FILES = 100  # config files that one config may come from


def describe_fault(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """Say in one line what is wrong with a text that is not valid YAML, and where."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem}, line {error.problem_mark.line + 1} column {error.problem_mark.column + 1}"
    return " ".join(str(error).split())


def read_config_file(path: Path) -> dict[str, Any]:
    """Read the mapping of sections in a config file; its scalars are text or Scalar, as in read_yaml."""
    _check_exists(path)
    try:
        tree = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"config file {path} is not valid YAML: {describe_fault(error)}.") from None
    if tree is None or (isinstance(tree, Scalar) and tree.value is None):
        return {}
    if not isinstance(tree, dict):
        kind = type(take_values(tree)).__name__
        raise UserError(f"config file {path} holds a {kind}; a mapping of sections is expected.")
    return tree


def _check_exists(path: Path, named_by: Path | None = None) -> None:
    """Raise UserError if a config file is missing. `named_by` is the config file whose `base` names it."""
    if not path.is_file():
        names = [str(other) for other in path.parent.glob("*.yaml") if other.is_file()]
        nearest = difflib.get_close_matches(str(path), names, n=1)
        fault = "is a folder" if path.is_dir() else "does not exist"
        origin = f", which {named_by} names as {BASE}," if named_by else ""
        raise UserError(f"config file {path}{origin} {fault}{f'; the nearest is {nearest[0]}' if nearest else ''}.")


def read_with_bases(path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the sections of a config file, after those of the files that it is based on.

    `base` is a file or a list of files, relative to the folder of the file that names them; `~` is filled in. Later
    values replace earlier ones. A file that is named several times is read once and stands at its last place, because
    what it sets there replaces what it set before. Raises UserError if a file is based on itself, if there are more
    than MOST_FILES files, or if a file that may only be a base is given by itself.
    """
    found: dict[Path, tuple[Path, dict[str, Any]]] = {}
    _read_backwards(path, (), found)
    if path.name.startswith(ONLY_BASE):
        raise UserError(
            f"config file {path} is only a {BASE} of other files, because its name begins with {ONLY_BASE}; give one of those."
        )
    return list(found.values())[::-1]


def _read_backwards(path: Path, above: Sequence[Path], found: dict[Path, tuple[Path, dict[str, Any]]]) -> None:
    """Add a config file to `found`, and then its bases, the last one first. `above` are the files that led to it."""
    _check_exists(path, above[-1] if above else None)
    if path.resolve() in above:
        raise UserError(f"config file {path} is based on itself through {BASE}; remove it from one of the files.")
    place = path.parent.resolve() / path.name  # a link counts as a file of its own folder, where its bases are
    if place in found:
        return
    if len(found) == MOST_FILES:
        raise UserError(
            f"config file {path} is one too many: through {BASE}, a config may have {MOST_FILES} files at most."
        )
    tree = read_config_file(path)
    base = tree.pop(BASE, [])
    names = base if isinstance(base, list) else [base]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError(
            f"config file {path}: {BASE}={take_values(base)!r} is not allowed; expected a file or a list of files."
        )
    found[place] = (path, tree)
    inside = (*above, path.resolve())
    for name in reversed(names):
        _read_backwards(path.parent / expand_path(name, f"config file {path}: {BASE}"), inside, found)
