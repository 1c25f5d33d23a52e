"""Join subspaces that hold the same factor, because their cluster labels depend on each other.

A factor can be split over two subspaces, and each shows only a part of its values. Clusters of their concatenation show
all values.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np
from scipy.stats import chi2_contingency
from scipy.stats.contingency import crosstab

Item = TypeVar("Item")

SIGNIFICANCE = 1e-3  # a dependence with a larger p-value counts as none, however large it looks


def compute_dependence(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """Compute the mutual information of two labellings over the smaller entropy, in [0, 1].

    Points that are outliers (-1) in either labelling are left out. With n points and r x c clusters, independent labels
    have a mutual information of about (r - 1)(c - 1) / (2 n) by chance (Miller 1955), which is subtracted. The result
    is 0 if Pearson's chi-squared test does not reject independence. In small tables this test keeps its level, while
    the likelihood-ratio test rejects several times too often.
    """
    is_clustered = (first_N >= 0) & (second_N >= 0)
    if not is_clustered.any():
        return 0.0
    counts = crosstab(first_N[is_clustered], second_N[is_clustered]).count
    samples, freedom = counts.sum(), (counts.shape[0] - 1) * (counts.shape[1] - 1)
    if freedom == 0 or chi2_contingency(counts, correction=False).pvalue > SIGNIFICANCE:
        return 0.0
    shares = counts / samples
    first, second = _compute_entropy(shares.sum(1)), _compute_entropy(shares.sum(0))
    information = first + second - _compute_entropy(shares.ravel())
    return float(np.clip((information - freedom / (2 * samples)) / min(first, second), 0.0, 1.0))


def _compute_entropy(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


def merge_greedily(
    items: Sequence[Item],
    depend: Callable[[Item, Item], float],
    join: Callable[[Item, Item], Item],
    separate: Callable[[Item], float],
    threshold: float,
) -> list[Item]:
    """Join the two items that depend most on each other, again and again, while their dependence is above `threshold`.

    If a joint item separates worse than the better of its two parts, the join is undone and the two are not tried
    again. A joint item takes the place of its first part.
    """
    place_of = dict(enumerate(items))
    dependence = {(one, two): depend(place_of[one], place_of[two]) for one, two in combinations(place_of, 2)}
    while dependence:
        pair = max(dependence, key=lambda one: dependence[one])
        if dependence.pop(pair) <= threshold:
            break
        first, second = (place_of[place] for place in pair)
        joint = join(first, second)
        if separate(joint) < max(separate(first), separate(second)):
            continue
        keep, gone = pair
        place_of[keep] = joint
        del place_of[gone]
        dependence = {one: value for one, value in dependence.items() if not {keep, gone} & set(one)}
        for place in place_of:
            if place != keep:
                dependence[min(place, keep), max(place, keep)] = depend(joint, place_of[place])
    return [place_of[place] for place in sorted(place_of)]
