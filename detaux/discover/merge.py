"""Join subspaces that hold the same factor: their cluster labels depend on each other.

A factor can be split over two subspaces, each seeing a part of its values; clusters of their concatenation see all.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2_contingency
from scipy.stats.contingency import crosstab

SIGNIFICANCE = 1e-3  # a dependence that chance explains better than this is none, however large it looks


def compute_dependence(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """Mutual information of two labellings over the smaller entropy, in [0, 1]; points that are noise (-1) in either are
    left out.

    With n points and r x c clusters, independent labels have a mutual information of about (r - 1)(c - 1) / (2 n) by
    chance (Miller 1955); that is taken off. What Pearson's chi-squared test does not tell from chance is 0: it keeps its
    level in small tables, where the likelihood-ratio test rejects several times too often.
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


def merge_dependent(
    labels: Sequence[np.ndarray], threshold: float, mergeable: Sequence[bool] | None = None
) -> list[tuple[int, ...]]:
    """Groups of positions in `labels` that depend on each other above `threshold`, directly or through others.

    Every position is in exactly one group; groups come in the order of their first member. A labelling with less than two
    clusters, or one whose `mergeable` is False, stays alone.
    """
    count = len(labels)
    usable = [labels[i].max(initial=-1) >= 1 and (mergeable is None or mergeable[i]) for i in range(count)]
    is_joined = np.zeros((count, count), bool)
    for first in range(count):
        for second in range(first + 1, count):
            if usable[first] and usable[second]:
                is_joined[first, second] = compute_dependence(labels[first], labels[second]) > threshold
    _, group_of = connected_components(is_joined, directed=False)
    groups: dict[int, list[int]] = {}
    for position, group in enumerate(group_of.tolist()):
        groups.setdefault(group, []).append(position)
    return [tuple(members) for members in groups.values()]
