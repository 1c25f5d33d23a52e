"""List the trials of the stage, and choose a setting from their validation accuracies."""

import math
from collections.abc import Collection
from typing import Any

from detaux.config import Config
from detaux.config.schema import MultitaskConfig
from detaux.config.variants import ENTANGLED, list_variants
from detaux.multitask.methods import find_method
from detaux.multitask.trial import DISCOVERED, NO_LABELS, STL, Setting, Trial

CONTROL_METHOD = "hard_sharing"  # the method that trains on control labels, and on those of another clusterer


def list_seeds(config: Config) -> list[int]:
    return [config.run.seed + offset for offset in range(config.multitask.seeds)]


def list_trials(config: MultitaskConfig, seeds: list[int], missing: Collection[str] = ()) -> list[Trial]:
    """Return the trials of each seed: STL, every method and weight on the discovered labels, hard sharing on controls.

    A method that reads no labels has no weights either, so it has one trial. The labels of another seed of discovery
    have all trials that the discovered ones have; those of another clusterer have hard sharing. Labels in `missing` are
    left out, because their discovery found no task.
    """
    trials = []
    readers = [method for method in config.methods if find_method(method).reads_labels]
    compared = [
        (method, one.labels)
        for one in list_variants(config)
        if one.labels != ENTANGLED
        for method in (readers if one.is_seed else [CONTROL_METHOD])
    ]
    compared += [(CONTROL_METHOD, control) for control in config.controls]
    for seed in seeds:
        trials.append(Trial(STL, NO_LABELS, 0.0, seed))
        for method in config.methods:
            if find_method(method).reads_labels:
                trials += [Trial(method, DISCOVERED, weight, seed) for weight in config.weights]
            elif method != STL:
                trials.append(Trial(method, NO_LABELS, 0.0, seed))
        trials += [
            Trial(method, labels, weight, seed)
            for method, labels in compared
            if labels not in missing
            for weight in config.weights
        ]
    return trials


def select_setting(rows: list[dict[str, Any]], config: MultitaskConfig) -> Setting:
    """Return the method, labels and weight to use.

    This is the setting with the best mean validation accuracy; controls do not count, and neither do variants: they
    repeat the run's own discovery for comparison. Ties go to STL, then to the smaller weight. With
    multitask.select=fixed it is the first setting that is not STL, if there is one.
    """
    means: dict[Setting, list[float]] = {}
    for row in rows:
        if row["kind"] in ("stl", "method"):
            means.setdefault((row["method"], row["labels"], row["weight"]), []).append(row["accuracy"])
    if config.select == "fixed":
        return next(iter([setting for setting in means if setting[0] != STL] or means))
    return max(means, key=lambda one: (math.fsum(means[one]) / len(means[one]), one[0] == STL, -one[2]))
