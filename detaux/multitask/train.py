"""The multitask stage: shards + labels -> accuracies with intervals, every choice made on the validation split."""

import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from detaux.artefacts import (
    ACCURACIES_NAME,
    CURVES_NAME,
    LABELS_NAME,
    MANIFEST_NAME,
    MODEL_FILE,
    ROWS_NAME,
    STATES_NAME,
)
from detaux.config import Config
from detaux.config.schema import MultitaskConfig
from detaux.data.labels_file import uses_ground_truth
from detaux.data.schema import read_manifest
from detaux.data.split import Split, load_split
from detaux.errors import InterruptedRunError, UserError
from detaux.multitask.answers import count_answers, describe_task, thin_out
from detaux.multitask.labels import ROTATION, build_control, load_labels
from detaux.multitask.network import MultiTaskNetwork, TrainingData, Trial, evaluate, train_trial
from detaux.multitask.statistics import summarize
from detaux.runtime.device import select_device
from detaux.runtime.files import atomic_path, write_json
from detaux.runtime.progress import say, track
from detaux.runtime.ranks import gather_objects, is_first, run_first, share_object, tell_once
from detaux.runtime.readers import read_safetensors
from detaux.runtime.record import compute_inputs_hash, hash_inputs, write_record
from detaux.runtime.signals import catch_signals

STATE_WAY_ON = "run the same command again, which trains that trial once more"
NO_LABELS, DISCOVERED = "none", "discovered"
SELECTED = "selected"
SELECTION = {"validation": "mean validation accuracy", "fixed": "the config: the first method and weight"}


def list_trials(config: MultitaskConfig, seeds: list[int]) -> list[Trial]:
    """STL, every method and weight on the discovered labels, and hard sharing on every control, for each seed."""
    trials = []
    for seed in seeds:
        trials.append(Trial("stl", NO_LABELS, 0.0, seed))
        for method in config.methods:
            if method != "stl":
                trials += [Trial(method, DISCOVERED, weight, seed) for weight in config.weights]
        trials += [
            Trial("hard_sharing", control, weight, seed) for control in config.controls for weight in config.weights
        ]
    return trials


def select_trial(rows: list[dict[str, Any]], config: MultitaskConfig) -> tuple[str, float]:
    """(method, weight) to use: the best mean validation accuracy among STL and the discovered labels, STL and then the
    smaller weight where equal; with multitask.select=fixed the first auxiliary method and weight."""
    means: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        if row["labels"] in (NO_LABELS, DISCOVERED):
            means.setdefault((row["method"], row["weight"]), []).append(row["accuracy"])
    if config.select == "fixed":
        return next(iter([pair for pair in means if pair[0] != "stl"] or means))
    return max(means, key=lambda pair: (math.fsum(means[pair]) / len(means[pair]), pair[0] == "stl", -pair[1]))


def read_rows(folder: Path, inputs_hash: str) -> list[dict[str, Any]]:
    """Validation rows that an interrupted run of the same inputs has left."""
    path = folder / ROWS_NAME
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # cut off by a kill
    return [row for row in rows if isinstance(row, dict) and row.get("inputs_hash") == inputs_hash and "name" in row]


@dataclass(frozen=True)
class Material:
    """What trials train on: the training split, its discovered labels [N], and the number of principal classes."""

    split: Split
    labels: Tensor
    classes: int

    def build_data(self, trial: Trial) -> TrainingData:
        """A trial's training data: its auxiliary labels, those of a control drawn by the trial's seed, and class counts."""
        split, auxiliary, counts = self.split, None, [self.classes]
        if trial.labels == ROTATION:
            counts.append(4)
        elif trial.labels != NO_LABELS:
            auxiliary = self.labels
            if trial.labels != DISCOVERED:
                auxiliary = build_control(trial.labels, self.labels, split.labels.cpu(), trial.seed)
            counts.append(int(self.labels.max()) + 1)
            auxiliary = auxiliary.to(split.images.device)
        return TrainingData(split.images, split.labels, auxiliary, counts)


def load_material(config: Config, shards: Path, labels_path: Path) -> Material:
    """What trials train on; raises UserError where the labels are not those of the shards."""
    split = load_split(shards, "train", config.data, select_device(config.run))
    return Material(split, load_labels(labels_path, split.keys), len(read_manifest(shards).classes))


def train_trials(
    config: Config, trials: list[Trial], material: Material, held_out: Split, folder: Path, inputs_hash: str
) -> list[dict[str, Any]]:
    """Train the trials that an interrupted call has not finished; a row for each, with its accuracy on the held-out split.

    Their weights lie in `folder`/states. All ranks call it together; raises InterruptedRunError where a signal stops it.
    """
    states = folder / STATES_NAME
    rows = share_object(_take_up(folder, inputs_hash) if is_first() else None)
    finished = {row["name"] for row in rows}
    with (
        catch_signals() as request,
        track("multitask", len(trials)) as advance,
        (folder / ROWS_NAME).open("a", encoding="utf-8") as log,
    ):

        def check_stop() -> None:
            if stop := max(gather_objects(request.received or 0)):
                raise tell_once(InterruptedRunError(stop, f"{len(rows)} of {len(trials)} trials"))

        for trial in trials:
            if trial.name not in finished:
                validation = (held_out.images, held_out.labels)
                network, best, curve = train_trial(
                    trial,
                    config.multitask,
                    material.build_data(trial),
                    validation,
                    config.data.noise,
                    check_stop,
                    config.engine,
                )
                row = {**describe(trial, "validation"), **best, "curve": curve, "name": trial.name}
                rows.append({**row, "inputs_hash": inputs_hash})
                if is_first():
                    with atomic_path(states / f"{trial.name}.safetensors") as partial:
                        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, partial)
                    log.write(json.dumps(rows[-1]) + "\n")
                    log.flush()
            advance(note=trial.name)
    run_first(lambda: None)  # all states are on disk
    return rows


def measure_gain(config: Config, shards: Path, labels_path: Path, folder: Path) -> float:
    """Mean validation accuracy of what `multitask.select` chooses, less that of the principal task alone.

    The test split is not read. Leaves the rows of its trials in `folder`.
    """
    trials = list_trials(config.multitask, list_seeds(config))
    inputs_hash = compute_inputs_hash("multitask", config, _hash(shards, labels_path))
    held_out = load_split(shards, "validation", config.data, select_device(config.run))
    rows = train_trials(config, trials, load_material(config, shards, labels_path), held_out, folder, inputs_hash)
    method, weight = select_trial(rows, config.multitask)
    chosen, alone = (
        [row["accuracy"] for row in rows if (row["method"], row["weight"]) == pair]
        for pair in ((method, weight), ("stl", 0.0))
    )
    run_first(lambda: shutil.rmtree(folder / STATES_NAME))
    return math.fsum(chosen) / len(chosen) - math.fsum(alone) / len(alone)


def list_seeds(config: Config) -> list[int]:
    return [config.run.seed + offset for offset in range(config.multitask.seeds)]


def _hash(shards: Path, labels_path: Path) -> dict[str, str]:
    inputs = {"manifest": shards / MANIFEST_NAME, "labels": labels_path}
    return share_object(hash_inputs(inputs) if is_first() else None)


def run_multitask(config: Config, shards: Path, discover: Path, folder: Path) -> None:
    """Train every trial, choose by validation accuracy, then read the test split once.

    Leaves metrics.json, curves.jsonl and checkpoint/model.safetensors. An interrupted run keeps its finished trials until
    the same command ends. All ranks call it together and share every batch; the first writes the files.
    """
    started = time.time()
    labels_path = discover / LABELS_NAME
    hashes = _hash(shards, labels_path)
    device, manifest = select_device(config.run), read_manifest(shards)
    trials = list_trials(config.multitask, list_seeds(config))
    material = load_material(config, shards, labels_path)
    held_out = load_split(shards, "validation", config.data, device)
    inputs_hash = compute_inputs_hash("multitask", config, hashes)
    rows = train_trials(config, trials, material, held_out, folder, inputs_hash)
    states = folder / STATES_NAME
    method, weight = select_trial(rows, config.multitask)
    # every choice is made: only now is the reported split read
    reported = load_split(shards, "test", config.data, device)
    tests = []
    principal, auxiliary = [], []  # what the chosen classifiers answer, a matrix for each seed
    for trial in trials:
        data = material.build_data(trial)
        network = MultiTaskNetwork(config.multitask, manifest.side, data.classes).to(device)
        network.load_state_dict(read_safetensors(states / f"{trial.name}.safetensors", STATE_WAY_ON))
        tests.append(
            {**describe(trial, "test"), **evaluate(network, reported.images, reported.labels, config.data.noise)}
        )
        if is_first() and (trial.method, trial.weight) == (method, weight) and trial.labels in (NO_LABELS, DISCOVERED):
            principal.append(count_answers(network, 0, reported.images, reported.labels, config.data.noise))
            if data.auxiliary is not None:
                some = thin_out(data.images, data.auxiliary)
                auxiliary.append(count_answers(network, 1, *some, config.data.noise))
    if not is_first():
        return
    everything = [{key: row[key] for key in (*describe(trials[0], ""), "accuracy", "loss", "examples")} for row in rows]
    everything += tests
    everything += [
        {**row, "method": SELECTED}
        for row in everything
        if (row["method"], row["weight"]) == (method, weight) and row["labels"] in (NO_LABELS, DISCOVERED)
    ]
    labels_name = NO_LABELS if method == "stl" else DISCOVERED
    best = states / f"{Trial(method, labels_name, weight, config.run.seed).name}.safetensors"
    with atomic_path(folder / MODEL_FILE) as partial:
        save_file(read_safetensors(best, STATE_WAY_ON), partial)
    with atomic_path(folder / CURVES_NAME) as partial:
        lines = ({**{key: row[key] for key in describe(trials[0], "")}, "curve": row["curve"]} for row in rows)
        partial.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    tasks = [describe_task("principal", "test", manifest.classes, principal)]
    if auxiliary:  # which has labels on the training images alone
        tasks.append(describe_task(DISCOVERED, "train", [str(label) for label in range(len(auxiliary[0]))], auxiliary))
    write_json(
        folder / ACCURACIES_NAME,
        {
            "rows": everything,
            "summary": summarize(everything),
            "tasks": tasks,
            "chosen": {"method": method, "weight": weight, "by": SELECTION[config.multitask.select]},
            "facts": {
                "train_images": len(material.split.keys),
                "labelled_images": int((material.split.labels >= 0).sum()),
                "validation_images": len(held_out.keys),
                "test_images": len(reported.keys),
                "classes": material.classes,
                "aux_classes": int(material.labels.max()) + 1,
                "uses_ground_truth": uses_ground_truth(labels_path),
            },
        },
    )
    say(f"multitask: validation chose {method} with weight {weight:g}")
    outputs = [ACCURACIES_NAME, CURVES_NAME, str(MODEL_FILE)]
    write_record(folder, "multitask", config, hashes, outputs, started)
    shutil.rmtree(states)
    (folder / ROWS_NAME).unlink()


def _take_up(folder: Path, inputs_hash: str) -> list[dict[str, Any]]:
    """Rows of the trials that an interrupted run has finished, its files tidied up for going on."""
    states = folder / STATES_NAME
    states.mkdir(parents=True, exist_ok=True)
    rows = [row for row in read_rows(folder, inputs_hash) if _has_state(states / f"{row['name']}.safetensors")]
    with atomic_path(folder / ROWS_NAME) as partial:
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return rows


def _has_state(path: Path) -> bool:
    """Whether a trial's weights are there and can be read; those that cannot are told."""
    try:
        return path.is_file() and bool(read_safetensors(path, "its trial is trained once more"))
    except UserError as error:
        say(f"multitask: {error}")
        return False


def describe(trial: Trial, split: str) -> dict[str, Any]:
    """The columns that name a row."""
    return {
        "method": trial.method,
        "labels": trial.labels,
        "weight": trial.weight,
        "seed": trial.seed,
        "split": split,
    }
