"""Measure how much one labelling depends on another."""

import numpy as np
from scipy.stats import chi2_contingency
from scipy.stats.contingency import association, crosstab
from sklearn.metrics import (
    adjusted_mutual_info_score,
    homogeneity_completeness_v_measure,
    normalized_mutual_info_score,
)

Measures = dict[str, float | None]


def compare_labels(found_N: np.ndarray, principal_N: np.ndarray) -> Measures:
    """Compute NMI, AMI, p of the chi-squared test and Cramer's V of two labellings.

    Points with the principal label -1 are left out. A small p rejects independence, but a large p does not show it.
    With many points even the weakest relation has a small p, so V in [0, 1] says how strong the relation is. If a
    labelling has only one class, p is 1 and the rest is 0. If no point has a principal label, all are None.
    """
    is_labelled = principal_N >= 0
    found_N, principal_N = found_N[is_labelled], principal_N[is_labelled]
    if len(found_N) == 0:
        return {"nmi": None, "ami": None, "chi2_p": None, "cramers_v": None}
    counts = crosstab(found_N, principal_N).count
    if min(counts.shape) < 2:
        return {"nmi": 0.0, "ami": 0.0, "chi2_p": 1.0, "cramers_v": 0.0}
    return {
        "nmi": float(normalized_mutual_info_score(principal_N, found_N)),
        "ami": float(adjusted_mutual_info_score(principal_N, found_N)),
        "chi2_p": float(chi2_contingency(counts, correction=False).pvalue),
        "cramers_v": float(association(counts, method="cramer")),
    }


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
