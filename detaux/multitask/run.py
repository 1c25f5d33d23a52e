"""Run the multitask stage: from shards and labels to accuracies with intervals. Only validation makes choices."""

import json
import shutil
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from torch import Tensor

from detaux.artefacts import ACCURACIES_NAME, CURVES_NAME, LABELS_NAME, MODEL_FILE
from detaux.config import Config
from detaux.config.variants import DISCOVERED, list_variants
from detaux.data.labels_file import is_marked_upper_bound
from detaux.data.schema import read_manifest
from detaux.data.split import Split, load_split
from detaux.multitask.classifier import load_classifier
from detaux.multitask.evaluate import count_answers, describe_task, evaluate, thin_out
from detaux.multitask.kept import KeptTrials
from detaux.multitask.material import Material, hash_material, load_material
from detaux.multitask.methods import find_method
from detaux.multitask.methods.base import TaskSpec
from detaux.multitask.pooling import pool_seeds
from detaux.multitask.statistics import SELECTED, summarize
from detaux.multitask.train import train_trials
from detaux.multitask.trial import COLUMNS, COSTS, Setting, Trial
from detaux.multitask.trials import list_seeds, list_trials, select_setting
from detaux.runtime.device import select_device
from detaux.runtime.files import atomic_path, write_json
from detaux.runtime.progress import say
from detaux.runtime.ranks import is_first
from detaux.runtime.record import compute_inputs_hash, write_record

STATE_WAY_ON = "run the same command again, which trains that trial once more"
SELECTION = {"validation": "mean validation accuracy", "fixed": "the config: the first method and weight"}

Row = dict[str, Any]
Answers = dict[int, list[Tensor]]  # task -> a matrix for each seed that counts each answer for each class


def run_multitask(config: Config, shards: Path, discover: Path, disentangle: Path, folder: Path) -> None:
    """Train every trial, choose a setting, then read the test split once.

    Leaves metrics.json, curves.jsonl and checkpoint/model.safetensors in `folder`. An interrupted run keeps its
    finished trials until the stage is complete. All ranks call it together and share every batch. The first rank
    writes the files.
    """
    started = time.time()
    labels_path = discover / LABELS_NAME
    hashes = hash_material(config, shards, labels_path, disentangle)
    device = select_device(config.run)
    material = load_material(config, shards, labels_path, disentangle)
    missing = material.list_missing(config)
    for one in missing:
        say(f"multitask: variant {one.title} of discovery found no task, so there are no rows of its labels.")
    trials = list_trials(config.multitask, list_seeds(config), [one.labels for one in missing])
    held_out = load_split(shards, "validation", config.data, device)
    if material.oracle is not None:
        say(f"multitask: rows with oracle labels train on the factor {config.multitask.oracle}: an upper bound")
    kept = KeptTrials(folder, compute_inputs_hash("multitask", config, hashes))
    train_trials(config, trials, material, held_out, kept)
    chosen = select_setting(kept.rows, config.multitask)
    # the test split is read only after every choice
    reported = load_split(shards, "test", config.data, device)
    tests, answers = _test_trials(config, trials, chosen, material, reported, kept)
    if not is_first():
        return
    with atomic_path(folder / MODEL_FILE) as partial:
        shutil.copyfile(kept.locate(Trial(*chosen, config.run.seed)), partial)
    _write_curves(folder, kept.rows)
    rows = _list_rows(kept.rows, tests, chosen)
    summary = summarize(rows)
    method, labels, weight = chosen
    write_json(
        folder / ACCURACIES_NAME,
        {
            "rows": rows,
            "summary": summary + pool_seeds(summary),
            "tasks": _describe_tasks(answers, read_manifest(shards).classes),
            "chosen": {
                "method": method,
                "labels": labels,
                "weight": weight,
                "by": SELECTION[config.multitask.select],
            },
            "facts": _describe_facts(config, material, held_out, reported, labels_path),
        },
    )
    chooser = "the config" if config.multitask.select == "fixed" else "validation"
    say(f"multitask: {chooser} chose {method} with weight {weight:g}")
    write_record(folder, "multitask", config, hashes, [ACCURACIES_NAME, CURVES_NAME, str(MODEL_FILE)], started)
    kept.remove()


def _test_trials(
    config: Config, trials: list[Trial], chosen: Setting, material: Material, reported: Split, kept: KeptTrials
) -> tuple[list[Row], Answers]:
    """Evaluate every trial on the reported split. Return the rows and, on the first rank, the chosen setting's answers.

    The answers to the principal task are those on the reported split. The answers to the discovered task are those on
    training images, because only they have its labels.
    """
    rows, answers, noise = [], defaultdict[int, list[Tensor]](list), material.noise
    images, targets = reported.images, reported.labels
    costs = {row["name"]: {key: row[key] for key in COSTS} for row in kept.rows}
    for trial in trials:
        classes = material.count_classes(trial)
        spec = TaskSpec(config.multitask, images.shape[1], classes, trial.weight)
        network = load_classifier(kept.locate(trial), trial.method, spec, images.device, STATE_WAY_ON)
        rows.append({**trial.describe("test"), **evaluate(network, images, targets, noise), **costs[trial.name]})
        if is_first() and trial.setting == chosen:
            answers[0].append(count_answers(network, 0, classes[0], images, targets, noise))
            if trial.labels == DISCOVERED and find_method(trial.method).predicts_labels:
                some = thin_out(material.split.images, material.labels.to(images.device))
                answers[1].append(count_answers(network, 1, classes[1], *some, noise))
    return rows, answers


def _list_rows(validations: list[Row], tests: list[Row], chosen: Setting) -> list[Row]:
    """Return the rows of both splits. Repeat those of the chosen setting with the method `selected`."""
    rows = [
        {key: row[key] for key in (*COLUMNS, "accuracy", "loss", "examples", *COSTS)} for row in validations
    ] + tests
    repeated = [row for row in rows if (row["method"], row["labels"], row["weight"]) == chosen]
    return rows + [{**row, "method": SELECTED} for row in repeated]


def _describe_tasks(answers: Answers, classes: list[str]) -> list[Row]:
    """Make a line of metrics.json for each task of the chosen classifiers."""
    lines = [describe_task("principal", "test", classes, answers[0])]
    if discovered := answers.get(1):
        names = [str(label) for label in range(len(discovered[0]))]
        lines.append(describe_task(DISCOVERED, "train", names, discovered))
    return lines


def _describe_facts(
    config: Config, material: Material, held_out: Split, reported: Split, labels_path: Path
) -> dict[str, Any]:
    """Return what metrics.json says about the data. A variant of discovery without classes found no task."""
    return {
        "train_images": len(material.split.keys),
        "labelled_images": int((material.split.labels >= 0).sum()),
        "validation_images": len(held_out.keys),
        "test_images": len(reported.keys),
        "classes": material.classes,
        "aux_classes": material.auxiliary_classes,
        "uses_ground_truth": is_marked_upper_bound(labels_path),
        **({} if material.oracle is None else {"oracle": config.multitask.oracle}),
        **({} if material.recombined is None else {"recombined_images": len(material.recombined.labels)}),
        "variants": [
            {
                "name": one.name,
                "labels": one.labels,
                "changes": dict(one.changes),
                "aux_classes": material.count_labels(one),
            }
            for one in list_variants(config.multitask)
        ],
    }


def _write_curves(folder: Path, rows: list[Row]) -> None:
    with atomic_path(folder / CURVES_NAME) as partial:
        lines = ({**{key: row[key] for key in COLUMNS}, "curve": row["curve"]} for row in rows)
        partial.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
