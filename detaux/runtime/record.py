"""The run record: what a stage read, with which code and machine, and what it left; written last, so it means done."""

import functools
import hashlib
import itertools
import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from detaux.artefacts import CONFIG_NAME, RECORD_NAME
from detaux.config import Config, dump_config, load_config, reads
from detaux.config.frozen import read_config_tree
from detaux.config.load import get_value, iterate_fields
from detaux.errors import UserError
from detaux.runtime.files import hash_file, hash_listing, hash_path, write_json

VERSIONED = ("detaux", "torch", "torchvision", "webdataset", "omegaconf", "numpy", "scikit-learn", "hdbscan")


def hash_inputs(inputs: Mapping[str, Path | list[Path]]) -> dict[str, str]:
    """Name -> hash_path of a stage's inputs, or hash_listing of an input that is many files."""
    return {
        name: hash_listing(path, Path(os.path.commonpath(path))) if isinstance(path, list) else hash_path(path)
        for name, path in sorted(inputs.items())
    }


def compute_inputs_hash(stage: str, config: Config, hashes: dict[str, str]) -> str:
    """Hash of everything a stage's numbers depend on: the keys it reads, and the hash_inputs of its inputs."""
    keys = {dotted: get_value(config, dotted) for dotted, _, _ in iterate_fields() if reads(stage, dotted)}
    tree = {"keys": keys, "inputs": hashes}
    # not sorted: the order of a mapping of classes is the order of the labels
    return hashlib.sha256(json.dumps(tree, default=str).encode()).hexdigest()


def is_done(folder: Path, inputs_hash: str, editable: str | None = None) -> bool:
    """Whether the stage that owns `folder` finished with exactly these inputs, its outputs still as it left them.

    The file `editable` may have been changed since; it must be there.
    """
    outputs = read_record(folder).get("outputs", {})
    return read_record(folder).get("inputs_hash") == inputs_hash and all(
        (folder / name).is_file() and (name == editable or hash_file(folder / name) == digest)
        for name, digest in outputs.items()
    )


def is_edited(folder: Path, name: str) -> bool:
    """Whether a file of a finished stage is no longer what the stage wrote."""
    path, digest = folder / name, read_record(folder).get("outputs", {}).get(name)
    return digest is not None and path.is_file() and hash_file(path) != digest


def keep_edited(folder: Path, name: str) -> Path | None:
    """Move a file to NAME-edited-1, or the next free number, before its stage makes it anew; the new path, None where the file is
    what the stage wrote."""
    path = folder / name
    if not path.is_file() or read_record(folder).get("outputs", {}).get(name) == hash_file(path):
        return None
    free = (path.with_stem(f"{path.stem}-edited-{number}") for number in itertools.count(1))
    kept = next(place for place in free if not place.exists())
    path.rename(kept)
    return kept


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a stage; {} when there is none, or one that a person or another release made: the stage runs again."""
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

    `hashes` are hash_inputs as they were when the stage began: where one changes meanwhile, the next run repeats
    the stage; `outputs` are file names relative to `folder`; `started` is time.time() at the stage's begin; `facts` go in
    as they are.
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
    """The commit of this code, asked for once: what changes on the disk later is not what this process runs."""
    return read_commit(Path(__file__).resolve().parents[2])


@functools.cache
def read_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers, looked up once."""
    versions = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def read_commit(checkout: Path) -> str:
    """Commit of the repository whose top level is `checkout`, with a + where tracked files are changed; else "unknown"."""
    top = _ask_git(checkout, "rev-parse", "--show-toplevel")
    if not top or Path(top).resolve() != checkout.resolve():  # installed inside somebody else's repository
        return "unknown"
    return _ask_git(checkout, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+") or "unknown"


def _ask_git(folder: Path, *arguments: str) -> str:
    """What git prints about `folder`, "" where it fails."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def read_stage_config(folder: Path) -> dict[str, Any]:
    """The frozen config beside a stage's artefacts, as plain dicts, those of another release too.

    Raises UserError when the file is not what the stage wrote: one that is cut short may still be YAML, of other keys.
    """
    _check_config(folder)
    return read_config_tree(folder / CONFIG_NAME)


def load_stage_config(folder: Path) -> Config:
    """The frozen config beside a stage's artefacts. Raises UserError as read_stage_config does."""
    _check_config(folder)
    return load_config(folder / CONFIG_NAME)


def _check_config(folder: Path) -> None:
    if is_edited(folder, CONFIG_NAME):
        raise UserError(f"{folder / CONFIG_NAME} is not what the stage {folder.name} wrote; run that stage again.")
