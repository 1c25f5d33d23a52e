"""What a finished stage leaves at W&B: artefacts beside those they were made from, pictures and a table."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from detaux.config import Config
from detaux.disentangle.restarts import list_models
from detaux.runtime.files import read_json
from detaux.runtime.mirrors.wandb import begin_run, build_artefact, choose_mode, end_run, log_use, read_state
from detaux.runtime.progress import say
from detaux.runtime.record import RECORD_NAME

CANDIDATE_COLUMNS = ("index", "name", "subspaces", "clusters", "noise_share", "why_not", "scores")


def log_stage(config: Config, stage: str, folder: Path, inputs: dict[str, Path]) -> None:
    """Log to W&B what a stage read and left, as artefacts shards -> model -> labels -> classifier, where `track.wandb` says so.

    Training goes on in the W&B run it has; the other stages get one of their own. What fails here is told and fails no
    stage, which is finished.
    """
    mode = choose_mode(config.track)
    if mode is None:
        return
    try:
        _log_stage(config, stage, folder, inputs)
    except Exception as error:
        say(f"{stage}: W&B got nothing of what the stage left: {error!r}")
        return
    if mode == "offline":
        places = {path.parent for path in folder.glob("**/wandb/offline-run-*")}
        runs = " ".join(f"{shlex.quote(str(place))}/offline-run-*" for place in sorted(places))
        say(f"{stage}: `wandb sync {runs}` uploads what W&B will show.")


def _log_stage(config: Config, stage: str, folder: Path, inputs: dict[str, Path]) -> None:
    record = read_json(folder / RECORD_NAME)
    facts = {name: record[name] for name in ("inputs", "inputs_hash", "commit")}
    run = begin_run(config, stage, folder, is_new=stage != "disentangle")
    step = read_state(folder)["step"]
    try:
        for name, path in inputs.items():
            log_use(run, build_artefact(config, "shards" if name == "manifest" else name, [path], {}))
        for name, paths in list_artefacts(config, stage, folder).items():
            run.log_artifact(build_artefact(config, name, paths, facts))
        if shown := {"discover": show_discovery, "multitask": show_accuracies}.get(stage):
            run.log(shown(folder))
    finally:
        end_run(run, folder, step)


def list_artefacts(config: Config, stage: str, folder: Path) -> dict[str, list[Path]]:
    """Name -> files of the artefacts that a stage leaves."""
    if stage == "disentangle":
        return {name: [path] for name, path in list_models(folder, config).items()}
    return {
        "discover": {"labels": [folder / "labels.parquet"]},
        "multitask": {"classifier": [folder / "metrics.json", folder / "checkpoint" / "model.safetensors"]},
    }[stage]


def show_discovery(folder: Path) -> dict[str, Any]:
    """The traversal as one picture, a table of the candidates, and how many subspaces live."""
    import wandb

    found = read_json(folder / "discovery.json")
    with np.load(folder / "gallery.npz", allow_pickle=False) as gallery:
        pictures, groups = gallery["traversal"], gallery["traversal_groups"].tolist()
    rows, columns, height, width, channels = pictures.shape
    grid = pictures.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    table = [
        [_to_cell(row.get(name)) for name in CANDIDATE_COLUMNS] for row in found["candidates"] + found["baselines"]
    ]
    return {
        "traversal": wandb.Image(grid, caption=f"subspaces from top to bottom: {', '.join(groups)}"),
        "candidates": wandb.Table(list(CANDIDATE_COLUMNS), table),
        "live_subspaces": found["live_subspaces"],
    }


def show_accuracies(folder: Path) -> dict[str, Any]:
    """The table of accuracies with their intervals."""
    import wandb

    summary = read_json(folder / "metrics.json")["summary"]
    columns = list(summary[0])
    return {"accuracies": wandb.Table(columns, [[line[name] for name in columns] for line in summary])}


def _to_cell(value: Any) -> Any:
    """A column of a W&B table has one type: what is no number goes as text."""
    return value if isinstance(value, int | float | None) else value if isinstance(value, str) else json.dumps(value)
