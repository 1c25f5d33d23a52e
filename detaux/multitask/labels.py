"""Auxiliary labels of the training images: the discovered ones, joined by sample key, and their controls."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import torch
from torch import Tensor

from detaux.errors import UserError

ROTATION = "rotation"  # the one control whose labels are made with the batch: the quarter turns of an image
CONTROLS = ("random", "permuted", "within_class", ROTATION)


def load_labels(path: Path, keys: list[str]) -> Tensor:
    """First auxiliary task of labels.parquet for every key, int64 [N].

    Raises UserError where the file is missing (discovery found no task) or lacks a key.
    """
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: discovery found no task, or has not run; see {path.parent}/discovery.json."
        )
    table = parquet.read_table(path, columns=["key", "aux_0"])
    label_of = dict(zip(table["key"].to_pylist(), table["aux_0"].to_pylist(), strict=True))
    missing = [key for key in keys if label_of.get(key) is None]
    if missing:
        raise UserError(
            f"{path} has no aux_0 label for {len(missing)} of {len(keys)} training images, for example {missing[0]}; run "
            "`detaux discover` on these shards again."
        )
    return torch.tensor([label_of[key] for key in keys])


def build_control(name: str, labels: Tensor, principal: Tensor, seed: int) -> Tensor:
    """A control for auxiliary labels [N]: random draws from their marginal, the labels shuffled over all images, or
    shuffled inside each principal class [N] (which keeps their dependence on it)."""
    draw = np.random.default_rng(seed)
    values = labels.numpy()
    if name == "random":
        made = draw.choice(values, size=len(values))
    elif name == "permuted":
        made = draw.permutation(values)
    elif name == "within_class":
        made = values.copy()
        for label in np.unique(principal.numpy()):
            members = np.flatnonzero(principal.numpy() == label)
            made[members] = values[draw.permutation(members)]
    else:
        raise UserError(f"multitask.controls: {name!r} is unknown; allowed are {', '.join(CONTROLS)}.")
    return torch.from_numpy(made)


def choose_labelled(principal: Tensor, fraction: float, seed: int) -> Tensor:
    """Indices of the training images whose principal label may be used: a share of every class, at least one of each.

    A smaller fraction takes a subset of a larger one's images.
    """
    draw = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(principal.numpy()):
        if label >= 0:
            members = draw.permutation(np.flatnonzero(principal.numpy() == label))
            chosen.append(members[: max(1, round(fraction * len(members)))])
    return torch.from_numpy(np.sort(np.concatenate(chosen)))
