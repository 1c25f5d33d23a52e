"""Join subspaces that hold the same factor, because their cluster labels depend on each other.

A factor can be split over two subspaces, and each shows only a part of its values. Clusters of their concatenation show
all values. Two factors that both follow the principal label depend on each other too, but not within a class.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TypeVar

import numpy as np
from scipy.stats import chi2, chi2_contingency
from scipy.stats.contingency import crosstab

from detaux.discover.dependence import SIGNIFICANCE, compute_entropy

Item = TypeVar("Item")


def compute_dependence(first_N: np.ndarray, second_N: np.ndarray, class_N: np.ndarray | None = None) -> float:
    """Compute the mutual information of two labellings over the smaller entropy, in [0, 1].

    With the principal class of each point, it is the smaller of this value over all points and of the same given the
    class. A part of a factor depends on another part in both ways. Two factors that follow the label depend on each
    other only over all points, and two that together decide the label only within the classes.

    Points that are outliers (-1) in either labelling are left out. Points of class -1 are a class like the others.
    """
    is_clustered = (first_N >= 0) & (second_N >= 0)
    if not is_clustered.any():
        return 0.0
    first_N, second_N = first_N[is_clustered], second_N[is_clustered]
    overall = _measure_tables([crosstab(first_N, second_N).count])
    if class_N is None or overall == 0:
        return overall
    class_N = class_N[is_clustered]
    inside = [class_N == value for value in np.unique(class_N)]
    return min(overall, _measure_tables([crosstab(first_N[rows], second_N[rows]).count for rows in inside]))


def _measure_tables(tables: Sequence[np.ndarray]) -> float:
    """Compute the information in tables of counts, one for each class, over the smaller entropy given the class.

    With n points, and r x c clusters in a table, independent labels have a mutual information of about the sum of
    (r - 1)(c - 1) over 2 n by chance (Miller 1955), which is subtracted. The result is 0 if Pearson's chi-squared test
    does not reject independence. In small tables this test keeps its level, while the likelihood-ratio test rejects
    several times too often. The statistics of independent tables add up, and so do their degrees of freedom.
    """
    samples = sum(int(counts.sum()) for counts in tables)
    statistic = information = first = second = 0.0
    freedom = 0
    for counts in tables:
        weight, shares = counts.sum() / samples, counts / counts.sum()
        rows, columns = compute_entropy(shares.sum(1)), compute_entropy(shares.sum(0))
        first, second = first + weight * rows, second + weight * columns
        own = (counts.shape[0] - 1) * (counts.shape[1] - 1)
        if own:
            freedom += own
            statistic += chi2_contingency(counts, correction=False).statistic
            information += weight * (rows + columns - compute_entropy(shares.ravel()))
    if freedom == 0 or chi2.sf(statistic, freedom) > SIGNIFICANCE:
        return 0.0
    return float(np.clip((information - freedom / (2 * samples)) / min(first, second), 0.0, 1.0))


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
