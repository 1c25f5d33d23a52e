"""Choose the device and the number of threads that the config asks for, and read the peak memory."""

import importlib.util
import os
import resource
import shutil
import sys

import torch

from detaux.config.schema import RunConfig
from detaux.errors import UserError
from detaux.runtime.ranks import read_place


def select_device(config: RunConfig) -> torch.device:
    """Return the torch device of `run.device`: on a machine with several ranks, one GPU for each.

    Raises UserError if there are too few GPUs.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("run.device=cuda but torch finds no GPU; use run.device=auto or run.device=cpu.")
    if config.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    _, local_rank, ranks = read_place()
    if ranks == 1:
        return torch.device("cuda")
    gpus = torch.cuda.device_count()
    if local_rank >= gpus:
        raise UserError(
            f"the launcher started at least {local_rank + 1} ranks on this machine, but torch finds {gpus} GPUs; "
            "start one rank for each GPU."
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def read_peak_bytes(device: torch.device) -> int:
    """Return the peak memory in bytes: of the tensors on a GPU, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, Linux KiB


def has_triton() -> bool:
    """Return whether Triton's kernels can run: they need the package and a C compiler, which builds Triton's driver."""
    compilers = [os.environ["CC"]] if os.environ.get("CC") else ["clang", "gcc"]  # the same search as Triton's
    return importlib.util.find_spec("triton") is not None and any(map(shutil.which, compilers))
