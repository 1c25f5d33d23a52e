"""Write and read a stage's record: what it read, with which code and machine, and what it left.

The record is written last, so a folder with a record is finished.
"""

import functools
import hashlib
import itertools
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from detaux.artefacts import CONFIG_NAME, RECORD_NAME
from detaux.config import Config, dump_config, load_config, reads
from detaux.config.frozen import read_config_tree
from detaux.config.load import get_value, iterate_fields
from detaux.config.location import expand_path
from detaux.config.renamed import REMOVED, RENAMED, rename
from detaux.errors import UserError
from detaux.runtime.files import hash_file, hash_listing, hash_path, write_json

VERSIONED = ("detaux", "torch", "torchvision", "webdataset", "omegaconf", "numpy", "scikit-learn", "hdbscan")


def hash_inputs(inputs: Mapping[str, Path | list[Path]]) -> dict[str, str]:
    """Return the hashes of a stage's inputs by name: hash_path of one path, hash_listing of a list of files."""
    return {
        name: hash_listing(path, Path(os.path.commonpath(path))) if isinstance(path, list) else hash_path(path)
        for name, path in sorted(inputs.items())
    }


def compute_inputs_hash(stage: str, config: Config, hashes: dict[str, str]) -> str:
    """Hash everything that a stage's numbers depend on: the keys that it reads, and the hash_inputs of its inputs."""
    keys = {
        dotted: _hash_content(dotted, get_value(config, dotted))
        if entry.metadata["names_file"]
        else get_value(config, dotted)
        for dotted, entry, _ in iterate_fields()
        if reads(stage, dotted)
    }
    tree = {"keys": keys, "inputs": hashes}
    # keys are not sorted, because the order of a mapping of classes is the order of the labels
    return hashlib.sha256(json.dumps(tree, default=str).encode()).hexdigest()


def _hash_content(dotted: str, value: str | None) -> str | None:
    """Return the hash of the file that the value of a key names, or the value if it names none."""
    path = expand_path(value, dotted) if value else None
    return hash_file(path) if path is not None and path.is_file() else value


def is_done(folder: Path, inputs_hash: str, editable: Sequence[str] = (), unread: Sequence[str] = ()) -> bool:
    """Return whether the stage of `folder` finished with exactly these inputs, and its outputs are unchanged since.

    The files `editable` may have changed, but they must exist. The files `unread` may have changed or be missing.
    """
    outputs = read_record(folder).get("outputs", {})
    return read_record(folder).get("inputs_hash") == inputs_hash and all(
        (folder / name).is_file() and (name in editable or hash_file(folder / name) == digest)
        for name, digest in outputs.items()
        if name not in unread
    )


def is_edited(folder: Path, name: str) -> bool:
    """Return whether a file of a finished stage is no longer what the stage wrote."""
    path, digest = folder / name, read_record(folder).get("outputs", {}).get(name)
    return digest is not None and path.is_file() and hash_file(path) != digest


def is_lost(folder: Path, name: str) -> bool:
    """Return whether a file that a finished stage wrote is missing."""
    return name in read_record(folder).get("outputs", {}) and not (folder / name).is_file()


def keep_edited(folder: Path, name: str) -> Path | None:
    """Move an edited file to NAME-edited-1, or the next free number, before its stage writes it again.

    Return the new path, or None if the file is missing or is what the stage wrote.
    """
    path = folder / name
    if not path.is_file() or read_record(folder).get("outputs", {}).get(name) == hash_file(path):
        return None
    free = (path.with_stem(f"{path.stem}-edited-{number}") for number in itertools.count(1))
    kept = next(place for place in free if not place.exists())
    path.rename(kept)
    return kept


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record of a stage; return {} if there is none or it is damaged, so that the stage runs again."""
    path = folder / RECORD_NAME
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError):
        return {}
    is_sound = isinstance(record, dict) and isinstance(record.get("outputs", {}), dict)
    return record if is_sound else {}


def write_record(
    folder: Path,
    stage: str,
    config: Config,
    hashes: dict[str, str],
    outputs: list[str],
    started: float,
    facts: dict[str, Any] | None = None,
) -> None:
    """Save config.yaml and record.json in a stage's folder.

    `hashes` are the hash_inputs at the start of the stage; if an input changes later, the next run repeats the stage.
    `outputs` are file names relative to `folder`. `started` is time.time() at the start. `facts` are stored unchanged.
    """
    dump_config(config, folder / CONFIG_NAME)
    write_json(
        folder / RECORD_NAME,
        {
            "stage": stage,
            "inputs_hash": compute_inputs_hash(stage, config, hashes),
            "inputs": hashes,
            "outputs": {name: hash_file(folder / name) for name in [*outputs, CONFIG_NAME]},
            "seconds": round(time.time() - started, 3),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": _read_own_commit(),
            "versions": read_versions(),
            "machine": {"platform": platform.platform(), "processor": platform.machine()},
            "facts": facts or {},
        },
    )


@functools.cache
def _read_own_commit() -> str:
    """Return the commit of this code, read once, because later changes on the disk are not what this process runs."""
    return read_commit(Path(__file__).resolve().parents[2])


@functools.cache
def read_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers, looked up once."""
    versions = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def read_commit(checkout: Path) -> str:
    """Return the commit of the repository at `checkout`, with a + if tracked files are changed.

    Return "unknown" if `checkout` is not the top level of a repository.
    """
    top = _ask_git(checkout, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != checkout.resolve():  # the package may be installed inside another repository
        return "unknown"
    return _ask_git(checkout, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+") or "unknown"


def _ask_git(folder: Path, *arguments: str) -> str:
    """Return what git prints about `folder`, or "" if git cannot run."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def read_stage_config(folder: Path) -> dict[str, Any]:
    """Read the frozen config in a stage's folder as plain dicts; it may be from another release.

    Raises UserError if the file is not what the stage wrote: a file that is cut short may still be valid YAML.
    """
    _check_config(folder)
    tree = read_config_tree(folder / CONFIG_NAME)
    for dotted in (*RENAMED, *REMOVED):
        section, old = dotted.split(".")
        if isinstance(keys := tree.get(section), dict) and old in keys:
            new, value = rename(dotted, keys.pop(old))
            if dotted in RENAMED:
                keys[new.split(".")[1]] = value
    return tree


def load_stage_config(folder: Path) -> Config:
    """Load the frozen config in a stage's folder. Raises UserError if the file is not what the stage wrote."""
    _check_config(folder)
    return load_config(folder / CONFIG_NAME, is_frozen=True)


def _check_config(folder: Path) -> None:
    if is_edited(folder, CONFIG_NAME):
        raise UserError(f"{folder / CONFIG_NAME} is not what the stage {folder.name} wrote; run that stage again.")
