"""List the trials of the stage, and choose a setting from their validation accuracies."""

import math
from collections.abc import Collection
from typing import Any

from detaux.config import Config
from detaux.config.schema import MultitaskConfig
from detaux.config.variants import ENTANGLED, list_variants
from detaux.errors import UserError
from detaux.multitask.controls import ROTATION, list_controls
from detaux.multitask.methods import find_method, reads_weight
from detaux.multitask.trial import DISCOVERED, NO_LABELS, STL, Setting, Trial

CLUSTERER_METHOD = "hard_sharing"  # the method that trains on the labels of another clusterer


def list_seeds(config: Config) -> list[int]:
    return [config.run.seed + offset for offset in range(config.multitask.seeds)]


def list_trials(config: MultitaskConfig, seeds: list[int], missing: Collection[str] = ()) -> list[Trial]:
    """Return the trials of each seed: STL, every method and weight on the discovered labels, then variants and controls.

    A method that reads no labels has no weights either, so it has one trial. A method whose rule does not read the
    weight has one trial too, of weight 1. A rule that reads the weight has no trial of weight 0: some rules then stop
    the principal task too. The labels of another seed of discovery have all trials that the discovered ones have; those
    of another clusterer have hard sharing. Labels in `missing` are left out, because their discovery found no task.
    Raises UserError if a method cannot train on mixed images and `multitask.mixup` asks for them, or if a
    method of `multitask.control_methods` cannot train on a control.
    """
    check_methods(config)
    trials = []
    readers = [method for method in config.methods if find_method(method).reads_labels]
    compared = [
        (method, one.labels)
        for one in list_variants(config)
        if one.labels != ENTANGLED
        for method in (readers if one.is_seed else [CLUSTERER_METHOD])
    ]
    compared += [(method, control) for method in config.control_methods for control in list_controls(config)]
    for seed in seeds:
        trials.append(Trial(STL, NO_LABELS, 0.0, seed))
        for method in config.methods:
            if find_method(method).reads_labels:
                trials += [Trial(method, DISCOVERED, weight, seed) for weight in _list_weights(method, config)]
            elif method != STL:
                trials.append(Trial(method, NO_LABELS, 0.0, seed))
        trials += [
            Trial(method, labels, weight, seed)
            for method, labels in compared
            if labels not in missing
            for weight in _list_weights(method, config)
        ]
    return trials


def _list_weights(method: str, config: MultitaskConfig) -> list[float]:
    if not reads_weight(method):
        return [1.0]
    return [weight for weight in config.weights if weight > 0 or "+" not in method]


def check_methods(config: MultitaskConfig) -> None:
    """Raise UserError if a method cannot train on what the config asks for."""
    _check_mixup(config)
    _check_control_methods(config)


def _check_mixup(config: MultitaskConfig) -> None:
    names = {"methods": [STL, *config.methods], "control_methods": config.control_methods if config.controls else []}
    for key, methods in names.items():
        for method in methods if config.mixup > 0 else ():
            if not find_method(method).takes_mixed_labels:
                raise UserError(
                    f"multitask.mixup={config.mixup:g} mixes labels, and {method} of multitask.{key} needs whole ones; "
                    "set multitask.mixup=0 or leave that method out."
                )


def _check_control_methods(config: MultitaskConfig) -> None:
    for name in config.control_methods if config.controls else ():
        method = find_method(name)
        if not method.reads_labels:
            raise UserError(
                f"multitask.control_methods has {name}, which reads no labels; give methods that read labels."
            )
        if ROTATION in config.controls and not method.separates_tasks:
            raise UserError(
                f"multitask.control_methods has {name}, which needs the labels of all tasks for the same images; the control "
                "rotation turns images and cannot give them: remove one of the two."
            )


def select_setting(rows: list[dict[str, Any]], config: MultitaskConfig) -> Setting:
    """Return the method, labels and weight to use.

    This is the setting with the best mean validation accuracy. Controls and upper bounds do not count, and neither do
    variants: they repeat the run's own discovery for comparison. Ties go to STL, then to the smaller weight. With
    multitask.select=fixed it is the first setting of a method, if there is one, and else STL: never another baseline.
    """
    means: dict[Setting, list[float]] = {}
    methods: list[Setting] = []
    for row in rows:
        setting = row["method"], row["labels"], row["weight"]
        if row["kind"] in ("stl", "baseline", "method"):
            means.setdefault(setting, []).append(row["accuracy"])
        if row["kind"] == "method":
            methods.append(setting)
    if config.select == "fixed":
        return next(iter(methods or means))
    return max(means, key=lambda one: (math.fsum(means[one]) / len(means[one]), one[0] == STL, -one[2]))
