"""What the losses need of a batch's projections, read in one pass. N images in chains, B pairs, K subspaces, D latent size."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from detaux.errors import UserError
from detaux.losses.numerics import widen
from detaux.losses.oracle import compute_normalizer
from detaux.losses.sparsity import compute_overlap
from detaux.runtime.device import has_triton

HAS_TRITON = has_triton()


@dataclass(frozen=True)
class PairMeasures:
    """Measures of B pairs over N images, float32 or wider, each with its gradient.

    first_BKD and second_BKD are the projections of each pair's images; squared_BK its squared distance in each subspace;
    normalizer_K the oracle's normaliser; overlap_N the sum over K and D of Eq. (8) for each image.
    """

    first_BKD: Tensor
    second_BKD: Tensor
    squared_BK: Tensor
    normalizer_K: Tensor
    overlap_N: Tensor


def measure_pairs(subspaces_NKD: Tensor, chains: int, normalizer: str) -> PairMeasures:
    """Measure the pairs of subspaces_NKD [N, K, D]: pair b is the images b and b + chains, so B = N - chains.

    normalizer  as in compute_normalizer.  All terms on pairs are small functions of what this returns, so a faster
    backend is another implementation of this one function.
    """
    values_NKD = widen(subspaces_NKD)
    first_BKD, second_BKD = values_NKD[:-chains], values_NKD[chains:]
    return PairMeasures(
        first_BKD=first_BKD,
        second_BKD=second_BKD,
        squared_BK=(first_BKD - second_BKD).square().sum(2),
        normalizer_K=compute_normalizer(values_NKD, normalizer),
        overlap_N=compute_overlap(values_NKD),
    )


def _measure_with_triton(subspaces_NKD: Tensor, chains: int, normalizer: str) -> PairMeasures:
    from detaux.losses.kernels import pair_measures  # imports triton, which the reference does without

    return pair_measures.measure_pairs(subspaces_NKD, chains, normalizer)


BACKENDS = {"reference": measure_pairs, "triton": _measure_with_triton}


def choose_backend(name: str, device: torch.device) -> str:
    """The key of BACKENDS that losses.backend `name` stands for on `device`; auto is triton on GPUs that have it.

    Raises UserError where triton is asked for and cannot run.
    """
    is_gpu = device.type == "cuda"
    if name == "auto":
        return "triton" if is_gpu and HAS_TRITON else "reference"
    if name == "triton" and not HAS_TRITON:
        raise UserError(
            "losses.backend=triton needs the package triton and a C compiler, and they are not both here; use auto or reference."
        )
    if name == "triton" and not is_gpu and os.environ.get("TRITON_INTERPRET") != "1":
        raise UserError(f"losses.backend=triton needs a GPU and the device is {device.type}; use auto or reference.")
    return name
