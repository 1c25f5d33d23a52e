"""Propose two halves of each free subspace that is a line: a mixture of two normal distributions (source `mixture`)."""

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from detaux.config import Config
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.cluster import Clusters, renumber
from detaux.discover.clusterers import choose_sizes

LINE = 0.98  # least share of the variance in the first direction of a line
STARTS = 2  # of each fit; the best counts


def propose_mixtures(embedded: EmbeddedSplit, config: Config) -> list[Candidate]:
    """Fit each free subspace that is a line, and keep those that two distributions describe better than one.

    Both parts have at least as many images as the smallest cluster of HDBSCAN.

    HDBSCAN needs a gap between clusters. Two values of a factor whose distributions touch have none, but the Bayesian
    information criterion still prefers two parts to one.
    """
    found = []
    for index in embedded.list_free():
        points_ND = embedded.embeddings.subspaces_NKD[:, index].contiguous()
        line_N = project_on_line(points_ND)
        if line_N is None:
            continue
        one, two = (_fit(line_N, parts, config.run.seed) for parts in (1, 2))
        clusters = _split(two, line_N)
        is_small = min(np.bincount(clusters.labels, minlength=2)) < choose_sizes(len(line_N), config.discover)[0]
        if is_small or two.bic(line_N[:, None]) >= one.bic(line_N[:, None]):
            continue

        def split_again(rows: np.ndarray, seed: int, line_N: np.ndarray = line_N) -> Clusters:
            return _split(_fit(line_N[rows], 2, seed), line_N[rows])

        found.append(Candidate(points_ND, clusters, (index,), name="mixture", recluster=split_again))
    return found


def project_on_line(points_ND: Tensor) -> np.ndarray | None:
    """Return the coordinates [N] along the first principal direction, or None if the points [N, D] are not a line."""
    if len(points_ND) < 2:
        return None
    centred_ND = (points_ND - points_ND.mean(0)).double()
    _, values, directions = torch.linalg.svd(centred_ND, full_matrices=False)
    total = values.square().sum()
    if total == 0 or values[0].square() < LINE * total:
        return None
    return (centred_ND @ directions[0]).cpu().numpy()


def _split(mixture: GaussianMixture, line_N: np.ndarray) -> Clusters:
    """Return the two parts of a fitted mixture at coordinates [N]."""
    probability_N2 = mixture.predict_proba(line_N[:, None])
    labels = renumber(probability_N2.argmax(1))
    return Clusters(
        labels, probability_N2.max(1).astype(np.float32), "mixture of two normal distributions (scikit-learn)"
    )


def _fit(line_N: np.ndarray, parts: int, seed: int) -> GaussianMixture:
    return GaussianMixture(parts, random_state=seed, n_init=STARTS).fit(line_N[:, None])
