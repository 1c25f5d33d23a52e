"""Measure how much one labelling depends on another, over all points or within the classes of a third.

Two labellings that both follow the principal label depend on each other, although they may be two factors. Within a
class of the label they are independent then.
"""

from typing import Literal

import numpy as np
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association, crosstab
from sklearn.metrics import (
    adjusted_mutual_info_score,
    homogeneity_completeness_v_measure,
    mutual_info_score,
    normalized_mutual_info_score,
)
from sklearn.metrics.cluster import expected_mutual_information

Measures = dict[str, float | None]
Relation = Literal["unrelated", "related"]

SIGNIFICANCE = 1e-3  # a dependence with a larger p-value counts as none, however large it looks
TINY = 1e-9


def compare_labels(found_N: np.ndarray, principal_N: np.ndarray) -> Measures:
    """Compute NMI, AMI, p of the chi-squared test, Cramer's V, and the unexplained share of two labellings.

    Points with the principal label -1 are left out. A small p rejects independence, but a large p does not show it.
    With many points even the weakest relation has a small p, so V in [0, 1] says how strong the relation is.
    `unexplained` is the share of the entropy of `found_N` that is left if the principal label is known, adjusted for
    chance: 1 for independent labellings, and 0 for the principal label itself and for its classes joined. If a
    labelling has only one class, p and `unexplained` are 1 and the rest is 0. If no point has a principal label, all
    are None.
    """
    is_labelled = principal_N >= 0
    found_N, principal_N = found_N[is_labelled], principal_N[is_labelled]
    if len(found_N) == 0:
        return {"nmi": None, "ami": None, "chi2_p": None, "cramers_v": None, "unexplained": None}
    counts = crosstab(found_N, principal_N).count
    if min(counts.shape) < 2:
        return {"nmi": 0.0, "ami": 0.0, "chi2_p": 1.0, "cramers_v": 0.0, "unexplained": 1.0}
    return {
        "nmi": float(normalized_mutual_info_score(principal_N, found_N)),
        "ami": float(adjusted_mutual_info_score(principal_N, found_N)),
        "chi2_p": float(chi2_contingency(counts, correction=False).pvalue),
        "cramers_v": float(association(counts, method="cramer")),
        "unexplained": _compute_unexplained(counts),
    }


def compute_independence(found_N: np.ndarray, principal_N: np.ndarray) -> float:
    """Compute 1 - Cramer's V of two labellings, with V corrected for chance (Bergsma, 2013).

    V^2 is the chi-squared statistic of the table over n times the smaller of r - 1 and c - 1. By chance the statistic is
    about (r - 1)(c - 1), and both sizes seem larger, so both are reduced. Points with the principal label -1 are left out.
    The result is 1 for labellings that differ by no more than chance, if one of them is constant, and if no label is
    known.
    """
    is_labelled = principal_N >= 0
    counts = crosstab(found_N[is_labelled], principal_N[is_labelled]).count
    samples, (rows, columns) = int(counts.sum()), counts.shape
    if samples < 2 or min(rows, columns) < 2:
        return 1.0
    by_chance = (rows - 1) * (columns - 1) / (samples - 1)
    excess = max(0.0, chi2_contingency(counts, correction=False).statistic / samples - by_chance)
    size = min(rows - (rows - 1) ** 2 / (samples - 1), columns - (columns - 1) ** 2 / (samples - 1))
    return float(1 - min(1.0, np.sqrt(excess / (size - 1)))) if size > 1 else 1.0


def _compute_unexplained(counts: np.ndarray) -> float:
    """Return (H - I) / (H - E[I]): H is the entropy of the rows, I the information, E[I] that of permuted labels."""
    entropy = compute_entropy(counts.sum(1) / counts.sum())
    information, by_chance = _measure_information(counts)
    if entropy - by_chance < TINY:  # each point has a class of its own, so nothing can be measured
        return 1.0
    return float(np.clip((entropy - information) / (entropy - by_chance), 0.0, 1.0))


def _measure_information(counts: np.ndarray) -> tuple[float, float]:
    """Return the mutual information of a table without empty rows and columns, and that of permuted labels on average."""
    counts = counts.astype(np.int64)
    expected = expected_mutual_information(counts, int(counts.sum()))
    return float(mutual_info_score(None, None, contingency=counts)), float(expected)


def compute_entropy(shares: np.ndarray) -> float:
    """Compute the entropy of shares that add up to 1, in nats."""
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


def name_relation(principal: Measures, most: float) -> Relation | None:
    """Call a labelling related to the principal label if its NMI is above `most` and is not chance.

    `principal` are the measures of compare_labels. The result is None if no label is known.
    """
    nmi, p = principal["nmi"], principal["chi2_p"]
    if nmi is None or p is None:
        return None
    return "related" if nmi > most and p <= SIGNIFICANCE else "unrelated"


def compute_ami_within(first_N: np.ndarray, second_N: np.ndarray, class_N: np.ndarray) -> float | None:
    """Compute the adjusted mutual information of two labellings given the class of each point.

    Information, its expectation and entropies are averaged over the classes by their sizes, before the quotient (I -
    E[I]) / (H - E[I]) is taken, with H the mean of both entropies. Points of class -1 are left out. The result is None
    if both labellings are constant in each class, so that nothing is left to compare.
    """
    gained = possible = 0.0
    for value in np.unique(class_N[class_N >= 0]):
        inside = class_N == value
        counts = crosstab(first_N[inside], second_N[inside]).count
        shares = counts / counts.sum()
        information, by_chance = _measure_information(counts)
        entropy = (compute_entropy(shares.sum(0)) + compute_entropy(shares.sum(1))) / 2
        gained += inside.sum() * (information - by_chance)
        possible += inside.sum() * (entropy - by_chance)
    return float(gained / possible) if possible > TINY else None


def count_together(principal_N: np.ndarray, found_N: np.ndarray, classes: int, clusters: int) -> np.ndarray:
    """Count the points of each principal class [rows] with each found label [columns]. Class -1 is left out."""
    counts = np.zeros((classes, clusters), np.int64)
    is_labelled = principal_N >= 0
    np.add.at(counts, (principal_N[is_labelled], found_N[is_labelled]), 1)
    return counts


def compare_with_factor(found_N: np.ndarray, factor_N: np.ndarray) -> Measures:
    """Compute homogeneity, completeness, V-measure (Rosenberg and Hirschberg 2007) and AMI against a known factor.

    No choice rule reads these values.
    """
    homogeneity, completeness, v_measure = homogeneity_completeness_v_measure(factor_N, found_N)
    return {
        "homogeneity": float(homogeneity),
        "completeness": float(completeness),
        "v_measure": float(v_measure),
        "ami": float(adjusted_mutual_info_score(factor_N, found_N)),
    }
