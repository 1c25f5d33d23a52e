"""List the trials of the stage, and choose a setting from their validation accuracies."""

import math
from typing import Any

from detaux.config import Config
from detaux.config.schema import MultitaskConfig
from detaux.errors import UserError
from detaux.multitask.methods import find_method
from detaux.multitask.trial import DISCOVERED, NO_LABELS, STL, Setting, Trial

CONTROL_METHOD = "hard_sharing"  # the method that trains on control labels


def list_seeds(config: Config) -> list[int]:
    return [config.run.seed + offset for offset in range(config.multitask.seeds)]


def list_trials(config: MultitaskConfig, seeds: list[int]) -> list[Trial]:
    """Return the trials of each seed: STL, every method and weight on the discovered labels, hard sharing on controls.

    A method that reads no labels has no weights either, so it has one trial. Raises UserError if a method cannot train
    on mixed images and `multitask.mixup` asks for them.
    """
    for method in (STL, *config.methods):
        if config.mixup > 0 and not find_method(method).takes_mixed_labels:
            raise UserError(
                f"multitask.mixup={config.mixup:g} mixes labels, and {method} of multitask.methods needs whole ones; "
                "set multitask.mixup=0 or leave that method out."
            )
    trials = []
    for seed in seeds:
        trials.append(Trial(STL, NO_LABELS, 0.0, seed))
        for method in config.methods:
            if find_method(method).reads_labels:
                trials += [Trial(method, DISCOVERED, weight, seed) for weight in config.weights]
            elif method != STL:
                trials.append(Trial(method, NO_LABELS, 0.0, seed))
        trials += [
            Trial(CONTROL_METHOD, control, weight, seed) for control in config.controls for weight in config.weights
        ]
    return trials


def select_setting(rows: list[dict[str, Any]], config: MultitaskConfig) -> Setting:
    """Return the method, labels and weight to use.

    This is the setting with the best mean validation accuracy; controls do not count. Ties go to STL, then to the
    smaller weight. With multitask.select=fixed it is the first setting that is not STL, if there is one.
    """
    means: dict[Setting, list[float]] = {}
    for row in rows:
        if row["kind"] != "control":
            means.setdefault((row["method"], row["labels"], row["weight"]), []).append(row["accuracy"])
    if config.select == "fixed":
        return next(iter([setting for setting in means if setting[0] != STL] or means))
    return max(means, key=lambda one: (math.fsum(means[one]) / len(means[one]), one[0] == STL, -one[2]))
