"""Auxiliary labels of the training images: the discovered ones, joined by sample key, and their controls."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import torch
from torch import Tensor

from detaux.errors import UserError

ROTATION = "rotation"  # the one control whose labels are made with the batch: the quarter turns of an image


def load_labels(path: Path, keys: list[str]) -> Tensor:
    """First auxiliary task of labels.parquet for every key, int64 [N]; the file may have been edited by hand.

    Classes are numbered from 0 in the order of their values. Raises UserError where the file lacks a key or is no table of
    text keys and whole numbers from 0 on.
    """
    try:
        table = parquet.read_table(path, columns=["key", "aux_0"])
        pairs = set(zip(table["key"].to_pylist(), table["aux_0"].to_pylist(), strict=True))
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is no parquet file with the columns key and aux_0: {error}.") from None
    label_of = dict(pairs)
    if len(label_of) < len(pairs):
        raise UserError(f"{path} gives {len(pairs) - len(label_of)} keys more than one label in aux_0.")
    wrong = [value for value in label_of.values() if value is not None and not (type(value) is int and value >= 0)]
    if wrong:
        raise UserError(f"{path}: aux_0 holds {wrong[0]!r}; whole numbers from 0 on are expected.")
    missing = [key for key in keys if label_of.get(key) is None]
    if missing:
        raise UserError(
            f"{path} has no aux_0 label for {len(missing)} of {len(keys)} training images, for example {missing[0]}; run "
            "`detaux discover` on these shards again."
        )
    number_of = {value: number for number, value in enumerate(sorted({label_of[key] for key in keys}))}
    if len(number_of) < 2:
        raise UserError(f"{path}: aux_0 has a single class; an auxiliary task needs two.")
    return torch.tensor([number_of[label_of[key]] for key in keys])


def uses_ground_truth(path: Path) -> bool:
    """Whether labels.parquet says that known factors entered the training behind its labels."""
    return (parquet.read_schema(path).metadata or {}).get(b"uses_ground_truth") == b"true"


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
