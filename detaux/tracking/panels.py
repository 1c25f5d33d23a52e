"""List the panels that all dashboards show of a run, with the keys that its stages log."""

from dataclasses import dataclass, replace
from typing import Literal

from detaux.config import Config
from detaux.config.load import get_value

ORACLE_SHARE = "oracle/share"  # a list with a share for each subspace
MATRIX_COLUMNS = ("Actual", "Predicted", "nPredictions")  # fixed by W&B's chart, for the table behind a matrix


@dataclass(frozen=True)
class Panel:
    """Hold keys that are shown together, under the heading `section`.

    Lines are drawn over the steps of a training, and their keys are in its metrics.jsonl. W&B gets all other kinds at
    the end of a stage: numbers as bars, pictures, tables, and matrices, which are tables with a count for each pair.
    """

    section: str
    keys: tuple[str, ...]
    kind: Literal["lines", "bars", "pictures", "table", "matrix"] = "lines"


PANELS = {
    "losses": Panel(
        "losses and betas",
        (
            "loss/total",
            "loss/reconstruction",
            "loss/distance",
            "loss/sparsity",
            "loss/consistency",
            "loss/regularization",
            "loss/principal_contrast",
            "loss/neighbour_contrast",
            "loss/divergence",
            "loss/label",
        ),
    ),
    "betas": Panel("losses and betas", ("beta/1", "beta/2", "beta/3")),
    "oracle use": Panel("oracle use", (ORACLE_SHARE,)),
    "pairs": Panel("oracle use", ("pairs/different_share",)),
    "scores of subspaces": Panel("scores of subspaces", ("candidates",), "table"),
    "live subspaces": Panel("live subspaces", ("live_subspaces", "free_subspaces"), "bars"),
    "traversals": Panel("traversals", ("traversal",), "pictures"),
    "principal components of the clusters": Panel("clusters", ("clusters",), "pictures"),
    "principal classes and clusters": Panel("clusters", ("classes_by_cluster",), "matrix"),
    "confusion": Panel("accuracy", ("confusion",), "matrix"),
    "accuracy of each task": Panel("accuracy", ("tasks",), "table"),
    "accuracy of each method": Panel("accuracy", ("accuracies",), "table"),
    "accuracy": Panel("accuracy", ("accuracy",), "bars"),
    "gradient norm": Panel("gradient norm", ("grad_norm",)),
    "samples a second": Panel("speed and memory", ("samples_per_second",)),
    "data wait": Panel("speed and memory", ("data_wait_share",)),
    "memory": Panel("speed and memory", ("memory_bytes",)),
    "learning rate": Panel("learning rate", ("lr",)),
}
WEIGHTS = {  # log key of a term that is computed only if a config key is above 0 or true -> that key
    "loss/consistency": "losses.weights.consistency",
    "loss/regularization": "losses.weights.regularization",
    "loss/principal_contrast": "pairs.principal_contrast",
    "loss/neighbour_contrast": "pairs.neighbour_contrast",
    "loss/divergence": "model.conditional",
    "loss/label": "model.conditional",
}
WARMUP_LOSSES = {"loss/total", "loss/reconstruction", "loss/divergence", "loss/label"}
# logged only by the phase that trains on pairs
MAIN_ONLY = {ORACLE_SHARE, "pairs/different_share", *PANELS["losses"].keys} - WARMUP_LOSSES


def list_panels(config: Config) -> dict[str, Panel]:
    """Return the panels with only the keys that this config logs; the elements of a list have a key each.

    A panel of which no key is logged is left out.
    """
    found = {title: replace(panel, keys=_list_keys(panel, config)) for title, panel in PANELS.items()}
    return {title: panel for title, panel in found.items() if panel.keys}


def list_lines(config: Config) -> list[str]:
    """Return the keys that are drawn over the steps of a training."""
    return [key for panel in list_panels(config).values() if panel.kind == "lines" for key in panel.keys]


def _list_keys(panel: Panel, config: Config) -> tuple[str, ...]:
    if config.disentangle.main.steps == 0:
        panel = replace(panel, keys=tuple(key for key in panel.keys if key not in MAIN_ONLY))
    if panel.keys == (ORACLE_SHARE,):
        return tuple(f"{ORACLE_SHARE}/{index}" for index in range(config.model.subspaces))
    return tuple(key for key in panel.keys if key not in WEIGHTS or get_value(config, WEIGHTS[key]) > 0)
