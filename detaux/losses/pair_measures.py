"""Measure what the losses need from a batch's projections, in one pass.

N images in chains, B pairs, K subspaces, D latent size.
"""

from dataclasses import dataclass

from torch import Tensor

from detaux.losses.numerics import widen
from detaux.losses.oracle import compute_normalizer
from detaux.losses.sparsity import compute_overlap


@dataclass(frozen=True)
class PairMeasures:
    """Hold the measures of B pairs over N images, float32 or wider, each with its gradient.

    first_BKD and second_BKD are the projections of each pair's images, squared_BK is its squared distance in each
    subspace, normalizer_K is the oracle's normaliser, and overlap_N is the sum over K and D of Eq. (8) for each image.
    """

    first_BKD: Tensor
    second_BKD: Tensor
    squared_BK: Tensor
    normalizer_K: Tensor
    overlap_N: Tensor


def measure_pairs(subspaces_NKD: Tensor, chains: int, normalizer: str) -> PairMeasures:
    """Measure the pairs of subspaces_NKD [N, K, D]: pair b is the images b and b + chains, so B = N - chains.

    normalizer  as in compute_normalizer.  All terms on pairs are small functions of the returned values, so a faster
    backend only needs to implement this one function.
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
