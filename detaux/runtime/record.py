"""The run record: what a stage read, with which code and machine, and what it left; written last, so it means done."""

import dataclasses
import hashlib
import json
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from detaux.config import NEUTRAL_KEYS, READ_BY, STAGE_SECTIONS, Config, dump_config
from detaux.runtime.files import hash_file, hash_path, read_json, write_json

RECORD_NAME = "record.json"
VERSIONED = ("detaux", "torch", "torchvision", "webdataset", "omegaconf", "numpy", "scikit-learn", "hdbscan")


def hash_inputs(inputs: dict[str, Path]) -> dict[str, str]:
    """Name -> hash_path of a stage's inputs."""
    return {name: hash_path(path) for name, path in sorted(inputs.items())}


def compute_inputs_hash(stage: str, config: Config, hashes: dict[str, str]) -> str:
    """Hash of everything a stage's numbers depend on: its config sections, less the keys it does not
    read and the neutral ones, and the hash_inputs of its inputs."""
    sections = dataclasses.asdict(config)
    unread = (dotted for dotted, stages in READ_BY.items() if stage not in stages)
    for dotted in (*NEUTRAL_KEYS, *unread):
        section, name = dotted.split(".")
        sections[section].pop(name)
    tree = {name: sections[name] for name in STAGE_SECTIONS[stage]}
    tree["inputs"] = hashes
    # not sorted: the order of a mapping of classes is the order of the labels
    return hashlib.sha256(json.dumps(tree, default=str).encode()).hexdigest()


def is_done(folder: Path, inputs_hash: str, editable: str | None = None) -> bool:
    """Whether the stage that owns `folder` finished with exactly these inputs, its outputs still as it left them.

    The file `editable` may have been changed since; it must be there.
    """
    path = folder / RECORD_NAME
    if not path.is_file():
        return False
    try:
        record = read_json(path)
        outputs = record["outputs"].items()
    except (ValueError, KeyError, TypeError):  # edited by hand, or of another release: the stage runs again
        return False
    return record.get("inputs_hash") == inputs_hash and all(
        (folder / name).is_file() and (name == editable or hash_file(folder / name) == digest)
        for name, digest in outputs
    )


def is_edited(folder: Path, name: str) -> bool:
    """Whether a file of a finished stage is no longer what the stage wrote."""
    path, record = folder / name, folder / RECORD_NAME
    if not (path.is_file() and record.is_file()):
        return False
    digest = read_json(record).get("outputs", {}).get(name)
    return digest is not None and hash_file(path) != digest


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
    dump_config(config, folder / "config.yaml")
    write_json(
        folder / RECORD_NAME,
        {
            "stage": stage,
            "inputs_hash": compute_inputs_hash(stage, config, hashes),
            "inputs": hashes,
            "outputs": {name: hash_file(folder / name) for name in outputs},
            "seconds": round(time.time() - started, 3),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": read_commit(Path(__file__).resolve().parents[2]),
            "versions": read_versions(),
            "machine": {"platform": platform.platform(), "processor": platform.machine()},
            "facts": facts or {},
        },
    )


def read_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
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
    """The frozen config beside a stage's artefacts, as plain dicts."""
    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
