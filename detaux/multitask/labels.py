"""Auxiliary labels of the training images: the discovered ones, joined by sample key, and their controls."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detaux.data.labels_file import read_labels
from detaux.errors import UserError

ROTATION = "rotation"  # the one control whose labels are made with the batch: the quarter turns of an image


def load_labels(path: Path, keys: list[str]) -> Tensor:
    """First auxiliary task of labels.parquet for every key, int64 [N]; the file may have been edited by hand.

    Classes are numbered from 0 in the order of their values. Raises UserError when read_labels does, when the file lacks a
    key, and when it holds a single class.
    """
    label_of = read_labels(path)
    missing = [key for key in keys if key not in label_of]
    if missing:
        raise UserError(
            f"{path} has no row for {len(missing)} of {len(keys)} training images, for example {missing[0]}; put the rows back, "
            "or remove the file and run `detaux discover` again."
        )
    number_of = {value: number for number, value in enumerate(sorted({label_of[key] for key in keys}))}
    if len(number_of) < 2:
        raise UserError(f"{path}: aux_0 has a single class; an auxiliary task needs two.")
    return torch.tensor([number_of[label_of[key]] for key in keys])


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
        raise ValueError(f"no control of auxiliary labels is called {name!r}")
    return torch.from_numpy(made)
