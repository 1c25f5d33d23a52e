"""Choose how the pairs of a batch are measured: the reference in torch, or one fused Triton kernel."""

import os

import torch
from torch import Tensor

from detaux.errors import UserError
from detaux.losses.pair_measures import PairMeasures, measure_pairs
from detaux.runtime.device import has_triton

HAS_TRITON = has_triton()


def _measure_with_triton(subspaces_NKD: Tensor, chains: int, normalizer: str) -> PairMeasures:
    from detaux.losses.kernels import pair_measures  # imports triton, which the reference does not need

    return pair_measures.measure_pairs(subspaces_NKD, chains, normalizer)


BACKENDS = {"reference": measure_pairs, "triton": _measure_with_triton}


def choose_backend(name: str, device: torch.device) -> str:
    """Return the key of BACKENDS for the value `name` of losses.backend; auto is triton on GPUs that have it.

    Raises UserError if triton is asked for and cannot run.
    """
    is_gpu = device.type == "cuda"
    if name == "auto":
        return "triton" if is_gpu and HAS_TRITON else "reference"
    if name == "triton" and not HAS_TRITON:
        raise UserError(
            "losses.backend=triton needs the package triton and a C compiler, but lacks one; use auto or reference."
        )
    if name == "triton" and not is_gpu and os.environ.get("TRITON_INTERPRET") != "1":
        raise UserError(f"losses.backend=triton needs a GPU and the device is {device.type}; use auto or reference.")
    return name
