"""Read features of images from a file of the user, and join them to the images.

M rows of the file, N images, F features.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from detaux.config.location import expand_path
from detaux.errors import UserError
from detaux.runtime.readers import check_safetensors, read_npy, read_npz

KEY = "discover.features"
TILE = 4096  # rows handled at once
LARGEST = np.float64(1e12)  # sums of squares of larger numbers may be infinite in float32
WAY_ON = f"give {KEY} a .npy, .npz or .safetensors file of features"


@dataclass(frozen=True)
class Features:
    """Hold rows [M, F] of real numbers, their file, and the keys of the images, or None if their order says it."""

    path: Path
    rows_MF: np.ndarray
    keys: list[str] | None


def read_features(text: str) -> Features:
    """Read the file of `discover.features`. Nothing is unpickled.

    An .npz file holds two arrays, `keys` and `features`. A .safetensors file holds the tensor `features`, and the JSON
    list of the keys as `keys` in its metadata. A .npy file holds only the array, a row for each training image in the
    order of labels.parquet, which only a discovery writes. Raises UserError if the file is damaged, or holds anything
    else than distinct keys and a matrix of real numbers up to LARGEST in size.
    """
    path, keys = expand_path(text, KEY), None
    if path.suffix == ".npy":
        rows_MF = read_npy(path, WAY_ON)
    elif path.suffix == ".npz":
        arrays = read_npz(path, WAY_ON, ("keys", "features"))
        rows_MF, keys = arrays["features"], arrays["keys"].ravel().tolist()
    else:
        rows_MF, keys = _read_tensor(path)
    if rows_MF.dtype.kind not in "fiub" or rows_MF.ndim != 2 or 0 in rows_MF.shape:
        raise UserError(
            f"{KEY}={path} holds {rows_MF.dtype} of shape {list(rows_MF.shape)}; a matrix of real numbers is expected, with a "
            "row for each image."
        )
    if rows_MF.dtype == np.longdouble:  # which torch does not know
        with np.errstate(over="ignore"):
            rows_MF = rows_MF.astype(np.float64)
    parts = (rows_MF[begin : begin + TILE] for begin in range(0, len(rows_MF), TILE))
    broken = np.flatnonzero(np.concatenate([~((part <= LARGEST) & (part >= -LARGEST)).all(1) for part in parts]))
    if len(broken):
        raise UserError(
            f"{KEY}={path} has {len(broken)} rows that are not finite or beyond {LARGEST:g}, first row {broken[0]} (counted "
            "from 0); numbers within it are expected."
        )
    if keys is not None:
        _check_keys(path, keys, len(rows_MF))
    return Features(path, rows_MF, keys)


def _read_tensor(path: Path) -> tuple[np.ndarray, list[str]]:
    check_safetensors(path, WAY_ON)
    with safe_open(path, "pt") as file:
        names, text = list(file.keys()), (file.metadata() or {}).get("keys")
        if "features" not in names or text is None:
            raise UserError(f"{KEY}={path} needs a tensor `features`, and `keys` in its metadata: a JSON list of text.")
        values = file.get_tensor("features")
    if values.is_complex():
        raise UserError(f"{KEY}={path} holds complex numbers; real ones are expected.")
    try:
        keys = json.loads(text)
    except (ValueError, RecursionError):
        keys = None
    if not isinstance(keys, list):
        raise UserError(f"{KEY}={path}: `keys` in its metadata is no JSON list; a list of text is expected.")
    return (values if values.dtype == torch.float64 or not values.is_floating_point() else values.float()).numpy(), keys


def _check_keys(path: Path, keys: list[str], rows: int) -> None:
    if len(keys) != rows:
        raise UserError(f"{KEY}={path} has {len(keys)} keys and {rows} rows; one key for each row is expected.")
    wrong = [key for key in keys if not isinstance(key, str)]
    if wrong:
        raise UserError(f"{KEY}={path}: keys holds {wrong[0]!r}; the keys of samples, as text, are expected.")
    key, count = Counter(keys).most_common(1)[0]
    if count > 1:
        raise UserError(f"{KEY}={path} has {count} rows for {key}; one is expected.")


def join_features(features: Features, keys: Sequence[str], names: Mapping[str, str]) -> Tensor:
    """Return the features of the images `keys` float32 [N, F], less their mean.

    A row of the file may have the key of an image or its name in the data set (`names` of the manifest). Rows of
    other images are left out. Raises UserError if an image has no row, or if a file without keys has another number of
    rows than there are images.
    """
    if features.keys is None:
        if len(features.rows_MF) != len(keys):
            raise UserError(
                f"{KEY}={features.path} has {len(features.rows_MF)} rows and the training split has {len(keys)} images; one row "
                "for each is expected in the order of labels.parquet, or better an .npz file with features and keys, "
                "which `detaux shards order` prints."
            )
        rows_NF = features.rows_MF
    else:
        row_of = {key: row for row, key in enumerate(features.keys)}
        places = [row_of.get(key, row_of.get(names.get(key, key))) for key in keys]
        lacking = [key for key, place in zip(keys, places, strict=True) if place is None]
        if lacking:
            raise UserError(
                f"{KEY}={features.path} has no row for {len(lacking)} of the {len(keys)} training images, first {lacking[0]}; a "
                "row for each is expected, by its key or by its name."
            )
        rows_NF = features.rows_MF[np.array(places, np.int64)]
    mean_F = rows_NF.mean(0, dtype=np.float64)
    points_NF = torch.empty(rows_NF.shape, dtype=torch.float32)
    for begin in range(0, len(rows_NF), TILE):  # some at a time, since float64 takes more memory
        points_NF[begin : begin + TILE] = torch.from_numpy(rows_NF[begin : begin + TILE] - mean_F)
    return points_NF
