"""Label the validation and test images by the networks of cross-prediction. Nothing trains on these labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from detaux.artefacts import HELD_OUT_LABELS
from detaux.config import Config
from detaux.data.labels_file import write_labels
from detaux.data.schema import Manifest, read_manifest
from detaux.data.split import Split, SplitReader, load_split
from detaux.discover.candidates.candidate import Candidate
from detaux.out_of_fold.network import shrink_images


def check_held_out(shards: Path, config: Config) -> None:
    """Raise UserError if cross-prediction will label a split that cannot be read, before the search takes its time."""
    if config.discover.cross_prediction.rounds > 0:
        for name in _list_held_out(read_manifest(shards)):
            SplitReader(shards, name, config.data)


def write_held_out(
    tasks: Sequence[Candidate],
    shards: Path,
    folder: Path,
    config: Config,
    device: torch.device,
    *,
    is_upper_bound: bool,
) -> list[str]:
    """Write the labels of each other split of `shards` to a file in `folder`, and return the files' names.

    The columns are those of labels.parquet. A task that was not cross-predicted has none, and if no task was, there is
    no file. The splits are read one after the other, when all is chosen.
    """
    if not any(one.cross and one.cross.recogniser for one in tasks):
        return []
    manifest, written = read_manifest(shards), []
    for name in _list_held_out(manifest):
        split = load_split(shards, name, config.data, device)
        columns = list_key_columns(split, manifest) | _recognise(tasks, split, config)
        write_labels(folder / HELD_OUT_LABELS[name], columns, is_upper_bound=is_upper_bound)
        written.append(HELD_OUT_LABELS[name])
    return written


def list_key_columns(split: Split, manifest: Manifest) -> dict[str, Any]:
    """Return the columns that name the images of a split."""
    names = {"name": [manifest.names.get(key, key) for key in split.keys]} if manifest.names else {}
    return {"key": split.keys, **names}  # names are for people who edit the file


def _list_held_out(manifest: Manifest) -> list[str]:
    """Return the splits, other than the training split, that hold images."""
    held = {shard.split for shard in manifest.shards}
    return [name for name in HELD_OUT_LABELS if name in held]


def _recognise(tasks: Sequence[Candidate], split: Split, config: Config) -> dict[str, Any]:
    """Return the columns of the tasks: labels and probabilities of the images of a split."""
    columns: dict[str, Any] = {}
    images_NHWC = shrink_images(split.images, config.data.noise, config.data.denoise, config.run.seed)
    for number, one in enumerate(tasks):
        if one.cross and one.cross.recogniser:
            labels, probability = one.cross.recogniser.recognise(images_NHWC)
            columns |= {f"aux_{number}": labels, f"probability_{number}": probability}
    return columns
