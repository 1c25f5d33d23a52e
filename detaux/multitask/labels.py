"""Read the discovered labels of the training images, matched by sample key."""

from pathlib import Path

import torch
from torch import Tensor

from detaux.data.labels_file import read_labels
from detaux.errors import UserError


def load_labels(path: Path, keys: list[str]) -> Tensor:
    """Return the label of the first auxiliary task in labels.parquet for every key, int64 [N].

    A user may have edited the file. Classes are numbered from 0 in the order of their values. Raises UserError if
    read_labels does, if the file lacks a key, or if it holds only one class.
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
