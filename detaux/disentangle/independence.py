"""Find the independent parts of a conditional code, and start the projectors (paper, Eq. 1) as them.

N images, D latent size, F free dimensions, G parts, K subspaces, H hidden units of a projector.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import mutual_info_score
from torch import Tensor

from detaux.disentangle.projectors import StackedProjectors

LEAST_SPREAD = 0.3  # standard deviation of an active dimension; the prior's is 1, and one without use has 0
BINS = 8  # of a component, each with as many images
LEAST_INFORMATION = 0.06  # nats that join two components
DEVIATIONS = 10.0  # of the information between permuted components, which joins them too, if it is more
ITERATIONS = 1000
LEAST_VALUE = 1e-6  # of a map; smaller singular values are rounding


@dataclass(frozen=True)
class IndependentParts:
    """Hold linear maps [G, F, F] of a code, each onto one independent part of it, and the code's mean [F].

    Part g of a code z is (z - mean) maps_GFF[g]. The maps add up to the identity on the `used` dimensions.
    """

    maps_GFF: np.ndarray
    mean_F: np.ndarray
    used: int


def find_independent_parts(codes_NF: np.ndarray, most: int, seed: int) -> IndependentParts:
    """Split codes [N, F] into at most `most` parts that depend on each other as little as possible.

    FastICA (Hyvarinen, 1999) turns the dimensions in use into components. Components that share information form one
    part: a hue, for example, is a circle and takes two. The parts come in the order of their variance.
    """
    mean_F = codes_NF.mean(0)
    active = np.flatnonzero(codes_NF.std(0) > LEAST_SPREAD)
    unmixing, mixing = _separate(codes_NF[:, active], seed) if len(active) > 1 else (np.eye(len(active)),) * 2
    sources = (codes_NF[:, active] - mean_F[active]) @ unmixing.T
    groups = join_components(measure_information(sources, seed), most)
    maps = np.zeros((len(groups), *[codes_NF.shape[1]] * 2))
    for number, group in enumerate(groups):
        maps[number][np.ix_(active, active)] = (mixing[:, group] @ unmixing[group]).T
    spread = [((codes_NF - mean_F) @ one).var(0).sum() for one in maps]
    return IndependentParts(maps[np.argsort(spread)[::-1]] if len(maps) else maps, mean_F, len(active))


def _separate(codes_NF: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the unmixing matrix [F, F] and its inverse."""
    ica = FastICA(whiten="unit-variance", random_state=seed, max_iter=ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it reached is grouped by dependence all the same
        ica.fit(codes_NF.astype(np.float64))
    return ica.components_, ica.mixing_


def measure_information(sources_NF: np.ndarray, seed: int) -> np.ndarray:
    """Return the mutual information [F, F] between components beyond that of permuted ones, in nats; 0 on the diagonal.

    Entries below both limits (LEAST_INFORMATION, and DEVIATIONS of the permuted ones) are negative.
    """
    draw, count = np.random.default_rng(seed), sources_NF.shape[1]
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    cells = [np.searchsorted(np.quantile(source, inner), source) for source in sources_NF.T]
    pairs = [(first, second) for second in range(count) for first in range(second)]
    chance = np.array([mutual_info_score(cells[first], draw.permutation(cells[second])) for first, second in pairs])
    if not pairs:
        return np.zeros((count, count))
    limit = max(LEAST_INFORMATION, DEVIATIONS * float(chance.std()))
    information = np.zeros((count, count))
    for first, second in pairs:
        excess = mutual_info_score(cells[first], cells[second]) - chance.mean() - limit
        information[first, second] = information[second, first] = excess
    return information


def join_components(excess_FF: np.ndarray, most: int) -> list[list[int]]:
    """Join the two groups whose mean excess is largest, while it is above 0 or there are more than `most` groups."""
    groups = [[index] for index in range(len(excess_FF))]
    while len(groups) > 1:
        means = {
            (first, second): float(excess_FF[np.ix_(groups[first], groups[second])].mean())
            for second in range(len(groups))
            for first in range(second)
        }
        (first, second), best = max(means.items(), key=lambda entry: entry[1])
        if best <= 0 and len(groups) <= most:
            break
        groups[first] += groups.pop(second)
    return groups


@torch.no_grad()
def start_projectors(projectors: StackedProjectors, parts: IndependentParts, codes_ND: Tensor) -> None:
    """Make projector 0 the label's part and the next ones the independent parts, exactly so for the codes [N, D].

    The projections of a code add up to the code; a dimension without use gets its mean. A hidden unit computes one
    linear function of the code, and its bias keeps it above 0, where ReLU changes nothing. The projectors that are left
    give 0.
    """
    latent, free = codes_ND.shape[1], len(parts.mean_F)
    projectors.output_weight_KHM.zero_()
    projectors.output_bias_K1M.zero_()
    label = np.diag(np.arange(latent) < latent - free).astype(float)
    mean_D = np.concatenate([np.zeros(latent - free), parts.mean_F])
    padded = [np.pad(one, ((latent - free, 0), (latent - free, 0))) for one in parts.maps_GFF]
    for place, (matrix, offset_D) in enumerate([(label, mean_D), *((one, -mean_D @ one) for one in padded)]):
        left, values, right = np.linalg.svd(matrix)
        rank = int((values > LEAST_VALUE).sum())
        weight_DH = torch.from_numpy(left[:, :rank] * values[:rank]).to(codes_ND)
        back_HD = torch.from_numpy(right[:rank]).to(codes_ND)
        lift_H = 2 * (codes_ND @ weight_DH).abs().amax(0) + 1
        projectors.hidden_weight_KMH[place, :, :rank] = weight_DH
        projectors.hidden_bias_K1H[place, 0, :rank] = lift_H
        projectors.output_weight_KHM[place, :rank] = back_HD
        projectors.output_bias_K1M[place, 0] = torch.from_numpy(offset_D).to(codes_ND) - lift_H @ back_HD
