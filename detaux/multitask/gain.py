"""Measure for a sweep how much the discovered labels help on the validation split."""

import math
from pathlib import Path

from detaux.config import Config
from detaux.data.split import load_split
from detaux.multitask.kept import KeptTrials
from detaux.multitask.material import hash_material, load_material
from detaux.multitask.train import train_trials
from detaux.multitask.trial import DISCOVERED, NO_LABELS, STL
from detaux.multitask.trials import list_seeds, list_trials, select_setting
from detaux.runtime.agreement import run_first
from detaux.runtime.device import select_device
from detaux.runtime.record import compute_inputs_hash


def measure_gain(config: Config, shards: Path, labels_path: Path, disentangle: Path, folder: Path) -> float:
    """Return the mean validation accuracy of the chosen setting minus that of single-task learning.

    `multitask.select` chooses the setting, from those that read the labels and single-task learning. The test split is
    not read. The rows of the trials stay in `folder`.
    """
    everything = list_trials(config.multitask, list_seeds(config))
    trials = [trial for trial in everything if (trial.labels == DISCOVERED and trial.weight > 0) or trial.method == STL]
    inputs_hash = compute_inputs_hash("multitask", config, hash_material(config, shards, labels_path, disentangle))
    held_out = load_split(shards, "validation", config.data, select_device(config.run))
    material = load_material(config, shards, labels_path, disentangle)
    kept = KeptTrials(folder, inputs_hash)
    train_trials(config, trials, material, held_out, kept)
    chosen, alone = (
        [row["accuracy"] for row in kept.rows if (row["method"], row["labels"], row["weight"]) == setting]
        for setting in (select_setting(kept.rows, config.multitask), (STL, NO_LABELS, 0.0))
    )
    run_first(kept.remove_states)
    return math.fsum(chosen) / len(chosen) - math.fsum(alone) / len(alone)
