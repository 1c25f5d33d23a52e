"""Send to W&B what a finished stage left: artefacts linked to their inputs, pictures, tables and numbers."""

import colorsys
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from detaux.artefacts import ACCURACIES_NAME, DISCOVERY_NAME, GALLERY_NAME, RECORD_NAME, WEIGHTS_NAME
from detaux.config import Config
from detaux.config.variants import MARK
from detaux.runtime.progress import say
from detaux.runtime.readers import read_json, read_npz
from detaux.stages import DECODER, LABELS, MANIFEST, MODEL, STAGES
from detaux.tracking.panels import MATRIX_COLUMNS
from detaux.tracking.wandb import (
    begin_run,
    build_artefact,
    choose_mode,
    end_run,
    log_use,
    make_state,
    read_state,
)

CANDIDATE_COLUMNS = ("index", "name", "subspaces", "restart", "clusters", "noise_share", "fault")
TASK_COLUMNS = ("task", "split", "images", "seeds", "accuracy_mean", "accuracy_low", "accuracy_high")
FACTS = ("inputs", "inputs_hash", "commit")  # names in a record that go to W&B
DISCOVERY_NAMES = ("candidates", "baselines", "classes_by_cluster", "chosen", "live_subspaces", "free_subspaces")
GALLERY_NAMES = ("traversal", "traversal_groups", "pca_subspace", "pca_subspace_labels")
WAY_ON = "run that stage again"
ARTEFACTS = {MANIFEST.name: MANIFEST.maker, DECODER.name: MODEL.name}  # of inputs whose artefact has another name
GOLDEN_RATIO = 0.618034  # hues in steps of it stay apart, however many colours there are


def log_stage(config: Config, stage: str, folder: Path, inputs: dict[str, Path]) -> None:
    """Log to W&B what a stage read and left, as artefacts shards -> model -> labels -> classifier, unless W&B is off.

    A training continues its W&B run; every other stage gets a new one. An error here is only printed, because the stage
    is already finished.
    """
    mode = choose_mode(config.track)
    if mode is None:
        return
    try:
        _log_stage(config, stage, folder, inputs)
    except Exception as error:
        say(f"{stage}: the stage's results could not be sent to W&B: {error!r}")
        return
    if mode == "offline":
        places = {path.parent for path in folder.glob("**/wandb/offline-run-*")}
        runs = " ".join(f"{shlex.quote(str(place))}/offline-run-*" for place in sorted(places))
        say(f"{stage}: `wandb sync {runs}` uploads what W&B will show.")


def _log_stage(config: Config, stage: str, folder: Path, inputs: dict[str, Path]) -> None:
    record = read_json(folder / RECORD_NAME, WAY_ON, (*FACTS, "outputs"))
    facts = {name: record[name] for name in FACTS}
    state = read_state(folder) if MODEL.maker == stage else make_state(record["inputs_hash"])
    run = begin_run(config, stage, folder, state)
    try:
        for name, path in inputs.items():
            # labels of variants are versions of one artefact, as what their stages leave
            artefact = ARTEFACTS.get(name, name.partition(MARK)[0])
            log_use(run, build_artefact(config, artefact, [path], {}))
        for name, paths in list_artefacts(stage, folder, list(record["outputs"])).items():
            run.log_artifact(build_artefact(config, name, paths, facts))
            if name in SHOWN:
                run.log(SHOWN[name](folder))
    finally:
        end_run(run, folder, state["step"])


def list_artefacts(stage: str, folder: Path, outputs: list[str]) -> dict[str, list[Path]]:
    """Return the artefacts of a stage, name -> files, from the outputs that its record lists.

    Training leaves a model for each restart: `model`, `model_1`, ... in the order of the record.
    """
    found: dict[str, list[Path]] = {}
    for name, files in STAGES[stage].artefacts.items():
        if name == MODEL.name:
            models = [folder / output for output in outputs if Path(output).name == WEIGHTS_NAME]
            found |= {f"{name}_{number}" if number else name: [path] for number, path in enumerate(models)}
        else:
            found[name] = [folder / file for file in files]
    return found


def show_discovery(folder: Path) -> dict[str, Any]:
    """Make what W&B shows of discovery.

    It shows the traversal as one picture, the points of the chosen clusters, a table of the candidates' scores, a table
    of the classes in each cluster, and how many subspaces are live.
    """
    import wandb

    found = read_json(folder / DISCOVERY_NAME, WAY_ON, DISCOVERY_NAMES)
    gallery = read_npz(folder / GALLERY_NAME, WAY_ON, GALLERY_NAMES)
    pictures, groups = gallery["traversal"], gallery["traversal_groups"].tolist()
    points, labels = gallery["pca_subspace"], gallery["pca_subspace_labels"]
    rows, columns, height, width, channels = pictures.shape
    grid = pictures.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)
    candidates = found["candidates"] + found["baselines"]
    scores = list(dict.fromkeys(name for row in candidates for name in row["scores"]))
    table = [
        [_to_cell(row.get(name)) for name in CANDIDATE_COLUMNS[:-1]]
        + [row["fault"] and row["fault"]["text"]]
        + [row["scores"].get(name) for name in scores]
        for row in candidates
    ]
    matrix = found["classes_by_cluster"]
    return {
        "traversal": wandb.Image(grid, caption=f"subspaces from top to bottom: {', '.join(groups)}"),
        "clusters": wandb.Object3D(colour_points(points, labels, candidates[found["chosen"]]["clusters"])),
        "candidates": wandb.Table([*CANDIDATE_COLUMNS, *scores], table),
        "classes_by_cluster": build_matrix(matrix["classes"], matrix["clusters"], matrix["counts"]),
        "live_subspaces": found["live_subspaces"],
        "free_subspaces": found["free_subspaces"],
    }


def show_accuracies(folder: Path) -> dict[str, Any]:
    """Make what W&B shows of multi-task training.

    It shows tables of accuracies with intervals, by method and by task, and the confusion matrix and the accuracy of
    the chosen classifier.
    """
    import wandb

    metrics = read_json(folder / ACCURACIES_NAME, WAY_ON, ("summary", "tasks"))
    summary, tasks = metrics["summary"], metrics["tasks"]
    principal = tasks[0]
    columns = list(summary[0])
    return {
        "accuracies": wandb.Table(columns, [[line[name] for name in columns] for line in summary]),
        "tasks": wandb.Table(list(TASK_COLUMNS), [[task[name] for name in TASK_COLUMNS] for task in tasks]),
        "confusion": build_matrix(principal["classes"], principal["classes"], principal["counts"]),
        "accuracy": principal["accuracy_mean"],
    }


# artefact -> the function that makes what W&B shows of its stage
SHOWN: dict[str, Callable[[Path], dict[str, Any]]] = {LABELS.name: show_discovery, "classifier": show_accuracies}


def build_matrix(rows: list[str], columns: list[str], counts: list[list[int]]) -> Any:
    """Build a W&B table with a line for each cell of a matrix."""
    import wandb

    cells = [
        [row, column, count]
        for row, line in zip(rows, counts, strict=True)
        for column, count in zip(columns, line, strict=True)
    ]
    return wandb.Table(list(MATRIX_COLUMNS), cells)


def colour_points(points_P3: np.ndarray, labels_P: np.ndarray, clusters: int) -> np.ndarray:
    """Add a colour for each cluster to points [P, 3] and return [P, 6]; outliers, with the highest label, are grey."""
    hues = [colorsys.hsv_to_rgb(index * GOLDEN_RATIO % 1, 0.75, 0.9) for index in range(clusters)]
    colours = 255 * np.array([*hues, (0.6, 0.6, 0.6)])
    return np.concatenate([points_P3, colours[labels_P].round()], 1)


def _to_cell(value: Any) -> Any:
    """Return a number as it is and anything else as text, because a column of a W&B table has one type."""
    return value if isinstance(value, int | float | None) else value if isinstance(value, str) else json.dumps(value)
