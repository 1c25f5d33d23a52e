"""Cluster the embeddings in a file, whatever made them. This needs no model and no shards."""

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
from detaux.runtime.readers import describe_damage, read_npy

ROWS = 4096  # moved and scaled at a time
SAMPLE = 65536  # rows, at most, from which the median is taken
MARK = {b"made_by": b"detaux cluster"}  # metadata of the files that the command may overwrite


def read_embeddings(path: Path, tensor: str | None) -> Tensor:
    """Read embeddings float32 [N, D] from a .npy or a .safetensors file.

    `tensor` names the tensor if a .safetensors file holds several. Raises UserError if the file is missing, damaged or
    of another kind, or holds anything but a matrix of real numbers. Nothing is unpickled.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; give a .npy or .safetensors file of embeddings [N, D].")
    if path.suffix not in (".npy", ".safetensors"):
        raise UserError(f"{path} is neither .npy nor .safetensors.")
    if path.suffix == ".npy" and tensor is not None:
        raise UserError(f"--tensor {tensor}: {path} holds one array without a name; leave --tensor out.")
    is_npy = path.suffix == ".npy"
    values_ND = read_npy(path, "save the embeddings again") if is_npy else _read_safetensors(path, tensor)
    if values_ND.ndim != 2 or 0 in values_ND.shape:
        raise UserError(
            f"{path} holds an array of shape {list(values_ND.shape)}; "
            "[N, D] with at least one row and one column is expected."
        )
    return centre(values_ND)


def centre(values_ND: np.ndarray) -> Tensor:
    """Return points float32 [N, D] with the distances of the values, up to a power of two.

    The median of each column is subtracted and the median length is scaled to about 1 before rounding. Values far from
    0, or very large or small, would otherwise lose their differences in float32. If a row is not finite, or too far
    from the others for float32, its point is not finite.
    """
    is_finite_N = np.concatenate(
        [np.isfinite(part).all(1) for part in np.array_split(values_ND, -(-len(values_ND) // ROWS))]
    )
    points_ND, finite = np.full(values_ND.shape, np.nan, np.float32), np.flatnonzero(is_finite_N)
    if len(finite):
        sample_SD = values_ND[finite[:: -(-len(finite) // SAMPLE)]]
        middle_D = np.partition(sample_SD, len(sample_SD) // 2, axis=0)[len(sample_SD) // 2]  # a value of each column
        length_S = np.abs(_subtract(sample_SD, middle_D)).max(1)
        exponent = -int(np.frexp(np.median(length_S) or length_S.max())[1])
        with np.errstate(over="ignore", under="ignore"):
            for rows in np.array_split(finite, -(-len(finite) // ROWS)):  # in parts, because float64 takes more memory
                points_ND[rows] = np.ldexp(_subtract(values_ND[rows], middle_D), exponent)
    return torch.from_numpy(points_ND)


def _subtract(values_ND: np.ndarray, middle_D: np.ndarray) -> np.ndarray:
    """Return values - middle as float64. Integers of 64 bits are rounded afterwards, because float64 holds only 53."""
    if values_ND.dtype.kind in "iu" and values_ND.dtype.itemsize == 8:
        difference_ND = values_ND.astype(np.uint64) - middle_D.astype(np.uint64)  # modulo 2^64
        is_below_ND = values_ND < middle_D
        return np.where(is_below_ND, -1.0, 1.0) * np.where(is_below_ND, -difference_ND, difference_ND)
    wide = np.result_type(values_ND.dtype, np.float64)
    with np.errstate(over="ignore"):
        return (values_ND.astype(wide) - middle_D.astype(wide)).astype(np.float64)


def _read_safetensors(path: Path, tensor: str | None) -> np.ndarray:
    try:
        with safe_open(path, framework="pt") as file:
            names = sorted(file.keys())
            if tensor is None and len(names) != 1:
                raise UserError(f"{path} holds {len(names)} tensors; name one by --tensor: {', '.join(names)}.")
            if tensor is not None and tensor not in names:
                raise UserError(f"{path} holds no tensor {tensor}; it holds {', '.join(names)}.")
            values = file.get_tensor(names[0] if tensor is None else tensor)
    except SafetensorError as error:
        raise UserError(f"{describe_damage(path, '.safetensors file', error)}.") from None
    if values.is_complex():
        raise UserError(f"{path} holds complex numbers; real ones are expected.")
    # numpy knows neither bfloat16 nor 8-bit floats
    return (values.float() if values.is_floating_point() and values.dtype != torch.float64 else values).numpy()


def cluster_file(path: Path, out: Path, tensor: str | None, config: Config) -> None:
    """Write a parquet file with the row number, the cluster and the probability of each embedding.

    Outliers have the highest cluster number. Raises UserError if read_embeddings does, if `out` cannot be written, or
    if it is a file that this command did not write.
    """
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"--out {out} must be a file in a folder that exists.")
    if out.exists() and not _is_own(out):
        raise UserError(
            f"--out {out} exists and `detaux cluster` did not write it; give another name, or move it away."
        )
    device = select_device(config.run)
    backend = select_backend(config.discover.backend, config.discover.clusterer, device)
    points_ND = read_embeddings(path, tensor)
    say(f"cluster: {config.discover.clusterer} runs on backend {backend.name}: {backend.reason}.")
    broken = int((~points_ND.isfinite().all(1)).sum())
    if broken:
        say(f"cluster: {broken} of {len(points_ND)} rows are not finite and count as outliers.")
    found = cluster_points(points_ND.to(device), config.discover, config.run.seed)
    columns = {
        "row": np.arange(len(points_ND)),
        "aux_0": found.class_labels,
        "probability_0": found.probability,
    }
    with atomic_path(out) as partial:
        pyarrow.parquet.write_table(pyarrow.table(columns).replace_schema_metadata(MARK), partial)
    say(
        f"cluster: {found.count} clusters, {found.outlier_fraction:.1%} outliers, {found.seconds:.1f} s; labels in {out}"
    )


def _is_own(path: Path) -> bool:
    """Check that cluster_file wrote this file."""
    try:
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
    except (pyarrow.ArrowException, OSError):
        return False
    return MARK.items() <= metadata.items()
