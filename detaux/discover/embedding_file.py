"""Cluster embeddings that a file holds, whatever made them: no model, no shards."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from detaux.config import Config
from detaux.discover.backends import select_backend
from detaux.discover.cluster import cluster_points
from detaux.errors import UserError
from detaux.runtime.device import select_device
from detaux.runtime.files import atomic_path
from detaux.runtime.progress import say


def read_embeddings(path: Path, tensor: str | None) -> Tensor:
    """Embeddings float32 [N, D] of a .npy file, or of a .safetensors file, whose tensor is named where there are several.

    Raises UserError where the file is missing, damaged or of another kind, or holds anything but a matrix of real numbers.
    Nothing is unpickled.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; give a .npy or .safetensors file of embeddings [N, D].")
    if path.suffix not in (".npy", ".safetensors"):
        raise UserError(f"{path} is neither .npy nor .safetensors.")
    if path.suffix == ".npy" and tensor is not None:
        raise UserError(f"--tensor {tensor}: {path} holds one array without a name; leave --tensor out.")
    values_ND = _read_npy(path) if tensor is None and path.suffix == ".npy" else _read_safetensors(path, tensor)
    if values_ND.dim() != 2 or 0 in values_ND.shape:
        raise UserError(
            f"{path} holds an array of shape {list(values_ND.shape)}; [N, D] is expected, neither of them 0."
        )
    return values_ND.float()


def _read_npy(path: Path) -> Tensor:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} cannot be read as a .npy file of numbers: {str(error).rstrip('.')}.") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = array.dtype if isinstance(array, np.ndarray) else "an archive of arrays"
        raise UserError(f"{path} holds {kind}; an array of real numbers is expected.")
    with np.errstate(over="ignore"):  # what float32 cannot hold is not finite, and told later
        # torch knows neither longer floats nor a swapped order of bytes
        return torch.from_numpy(array.astype(np.float32, order="C"))


def _read_safetensors(path: Path, tensor: str | None) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            names = sorted(file.keys())
            if tensor is None and len(names) != 1:
                raise UserError(f"{path} holds {len(names)} tensors; name one by --tensor: {', '.join(names)}.")
            if tensor is not None and tensor not in names:
                raise UserError(f"{path} holds no tensor {tensor}; there are {', '.join(names)}.")
            values = file.get_tensor(names[0] if tensor is None else tensor)
    except SafetensorError as error:
        raise UserError(f"{path} cannot be read as a .safetensors file: {str(error).rstrip('.')}.") from None
    if values.is_complex():
        raise UserError(f"{path} holds complex numbers; real ones are expected.")
    return values


def cluster_file(path: Path, out: Path, tensor: str | None, config: Config) -> None:
    """Leave a parquet file with a row number, the cluster (noise is the highest) and the probability of each embedding.

    Raises UserError as read_embeddings does, and where `out` cannot be written.
    """
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"--out {out} must be a file in a folder that exists.")
    device = select_device(config.run)
    backend = select_backend(config.discover.backend, config.discover.clusterer, device)
    points_ND = read_embeddings(path, tensor)
    say(f"cluster: {config.discover.clusterer} runs on backend {backend.name}: {backend.reason}.")
    broken = int((~points_ND.isfinite().all(1)).sum())
    if broken:
        say(f"cluster: {broken} of {len(points_ND)} rows are not finite and count as noise.")
    found = cluster_points(points_ND.to(device), config.discover, config.run.seed)
    columns = {
        "row": np.arange(len(points_ND)),
        "aux_0": found.class_labels,
        "probability_0": found.probability,
    }
    with atomic_path(out) as partial:
        pyarrow.parquet.write_table(pyarrow.table(columns), partial)
    say(f"cluster: {found.count} clusters, {found.noise_share:.1%} noise, {found.seconds:.1f} s; labels in {out}")
