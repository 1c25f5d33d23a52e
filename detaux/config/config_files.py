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


def describe_fault(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """Say in one line what is wrong with a text that is not valid YAML, and where."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem}, line {error.problem_mark.line + 1} column {error.problem_mark.column + 1}"
    return " ".join(str(error).split())


def read_config_file(path: Path, named_by: Path | None = None) -> dict[str, Any]:
    """Read the mapping of sections in a config file; its scalars are text or Scalar, as in read_yaml.

    `named_by` is the config file whose `base` names it, for the message if the file is missing.
    """
    if not path.is_file():
        names = [str(other) for other in path.parent.glob("*.yaml") if other.is_file()]
        nearest = difflib.get_close_matches(str(path), names, n=1)
        fault = "is a folder" if path.is_dir() else "does not exist"
        origin = f", which {named_by} names as {BASE}," if named_by else ""
        raise UserError(f"config file {path}{origin} {fault}{f'; the nearest is {nearest[0]}' if nearest else ''}.")
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


def read_with_bases(path: Path, above: Sequence[Path] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """Return the sections of a config file, after those of the files that it is based on.

    `base` is a file or a list of files, relative to the folder of the file that names them; `~` is filled in. Later
    values replace earlier ones. `above` are the files that led to this one. Raises UserError if a file is based on itself,
    or if a file that may only be a base is given by itself.
    """
    tree = read_config_file(path, above[-1] if above else None)
    if not above and path.name.startswith(ONLY_BASE):
        raise UserError(
            f"config file {path} is only a {BASE} of other files, because its name begins with {ONLY_BASE}; give one of those."
        )
    base = tree.pop(BASE, [])
    names = base if isinstance(base, list) else [base]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise UserError(
            f"config file {path}: {BASE}={take_values(base)!r} is not allowed; expected a file or a list of files."
        )
    if path.resolve() in above:
        raise UserError(f"config file {path} is based on itself through {BASE}; remove it from one of the files.")
    inside = (*above, path.resolve())
    paths = [path.parent / expand_path(name, f"config file {path}: {BASE}") for name in names]
    return [one for base_path in paths for one in read_with_bases(base_path, inside)] + [(path, tree)]
