"""Score candidates. Choice rules read only scores that need no ground truth beyond the principal label.

N samples, D size of a candidate's vectors, C candidates, P pairs of equal principal label.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score
from torch import Tensor

from detaux.config import Config
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate, Recluster, Scores, score_separation
from detaux.discover.cluster import Clusters
from detaux.discover.dependence import compare_labels, compare_with_factor, name_relation
from detaux.discover.separation import MOST_POINTS
from detaux.disentangle.embed import Embeddings
from detaux.losses.distance import distance_loss
from detaux.losses.oracle import compute_normalizer

NORMALIZER_POINTS = 512  # enough for a mean over pairs
TINY = float(np.finfo(np.float32).tiny)


def compute_bootstrap_stability(clusters: Clusters, recluster: Recluster | None, draws: int, seed: int) -> float | None:
    """Compute the mean adjusted Rand index between the clusters and those of bootstrap samples.

    A sample is drawn with replacement from at most MOST_POINTS points, and `recluster` clusters its distinct points.
    The result is None if `draws` is 0, `recluster` is None or there are less than two clusters.
    """
    if draws == 0 or recluster is None or clusters.count < 2:
        return None
    random = np.random.default_rng(seed)
    pool = random.permutation(len(clusters.labels))[:MOST_POINTS]
    agreements = []
    for draw in range(draws):
        rows = np.unique(random.choice(pool, len(pool)))
        agreements.append(adjusted_rand_score(clusters.labels[rows], recluster(rows, seed + draw).labels))
    return float(np.mean(agreements))


def score_agreement(candidates: Sequence[Candidate]) -> None:
    """Score `agreement`: how well other restarts found a candidate's clusters.

    It is the adjusted mutual information with the most similar candidate of each other restart, averaged over these
    restarts. It is None if there is no other restart, or if the candidate comes from no disentangler.
    """
    best: list[dict[int, float]] = [{} for _ in candidates]  # restart -> AMI with its most similar candidate
    restarts = [(place, one, one.restart) for place, one in enumerate(candidates) if one.restart is not None]
    for (place, one, restart), (other_place, other, other_restart) in combinations(restarts, 2):
        if restart != other_restart:
            similar = float(adjusted_mutual_info_score(one.clusters.class_labels, other.clusters.class_labels))
            for own, found in ((best[place], other_restart), (best[other_place], restart)):
                own[found] = max(own.get(found, 0.0), similar)
    for one, own in zip(candidates, best, strict=True):
        one.scores["agreement"] = float(np.mean(list(own.values()))) if own else None


def sum_variances(points: Tensor) -> float:
    """Compute the variance over the first axis, and sum it over the rest."""
    return float(points.var(0, correction=0).sum())


def compute_spread(points_ND: Tensor, total_variance: float) -> float:
    """Compute the share of these points in the variance of all subspaces."""
    return sum_variances(points_ND) / max(total_variance, TINY)


def count_live(embeddings: Embeddings, free: Sequence[int], least_share: float) -> int:
    """Count the free subspaces that hold at least this share of the variance of all subspaces."""
    total = sum_variances(embeddings.subspaces_NKD)
    return sum(compute_spread(embeddings.subspaces_NKD[:, index], total) >= least_share for index in free)


def compute_dot(subspaces_NKD: Tensor, members: Sequence[int], alpha: int) -> float:
    """Compute |mean over samples of <s_alpha, s_j>|, as the official code relates a subspace to the principal one.

    Several subspaces j count as their sum, because the decoder gets their sum (Eq. 1).
    """
    joined_ND = subspaces_NKD[:, list(members)].sum(1)
    return float((subspaces_NKD[:, alpha] * joined_ND).sum(1).mean().abs())


def score_pairs(
    points: Sequence[Tensor],
    first_P: np.ndarray,
    second_P: np.ndarray,
    *,
    margin: float,
    normalizer: str,
    seed: int,
) -> list[Scores]:
    """Compute the scores that need pairs, for each candidate's points [N, D]. All are None if there is no pair.

    A hard oracle (Eq. 3) gives each pair to the candidate that differs most, by distance over the candidate's
    normaliser.

    oracle_share  share of the pairs given to the candidate
    distance      its part of the distance loss (paper, Eq. 7) with margin m, averaged over pairs; the paper's rule
    invariance    mean squared distance of the pairs not given to it over twice its variance, the value of random pairs:
                  0 if the candidate moves only when the oracle says so, 1 if it ignores the oracle;
                  None if every pair is given to it
    """
    if len(first_P) == 0:
        return [{"oracle_share": None, "distance": None, "invariance": None} for _ in points]
    some = _draw_rows(len(points[0]), seed)
    pairs = torch.from_numpy(first_P), torch.from_numpy(second_P)
    ends = [(part[pairs[0]], part[pairs[1]]) for part in points]
    distance_PC = torch.stack([(first - second).norm(dim=1) for first, second in ends], dim=1)
    scales = [compute_normalizer(part[some][:, None], normalizer)[0] for part in points]
    is_given_PC = torch.nn.functional.one_hot((distance_PC / torch.stack(scales)).argmax(1), len(points))
    scores: list[Scores] = []
    for index, (part, (first, second)) in enumerate(zip(points, ends, strict=True)):
        given_P1 = is_given_PC[:, index, None].float()
        loss = distance_loss((first - second).square().sum(1, keepdim=True), given_P1, form="paper", margin=margin)
        passed = distance_PC[given_P1[:, 0] == 0, index].square()
        variance = max(sum_variances(part), TINY)
        invariance = float(passed.mean()) / (2 * variance) if len(passed) else None
        scores.append({"oracle_share": float(given_P1.mean()), "distance": float(loss), "invariance": invariance})
    return scores


def drop_principal_pairs(
    embeddings: Embeddings, first_P: np.ndarray, second_P: np.ndarray, alpha: int, normalizer: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return only the pairs that the oracle gives to a free subspace.

    If labels are missing, some pairs change the principal factor. These are dropped.
    """
    if len(first_P) == 0:
        return first_P, second_P
    subspaces_NKD = embeddings.subspaces_NKD
    scale_K = compute_normalizer(subspaces_NKD[_draw_rows(len(subspaces_NKD), seed)], normalizer)
    difference_PKD = subspaces_NKD[torch.from_numpy(first_P)] - subspaces_NKD[torch.from_numpy(second_P)]
    is_free = ((difference_PKD.norm(dim=2) / scale_K).argmax(1) != alpha).cpu().numpy()
    return first_P[is_free], second_P[is_free]


def _draw_rows(samples: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).permutation(samples)[:NORMALIZER_POINTS])


def score_candidates(
    candidates: list[Candidate],
    embeddings: Embeddings,
    pairs: tuple[np.ndarray, np.ndarray],
    split: Split,
    config: Config,
    alpha: int,
) -> None:
    """Compute the scores that compare candidates with each other and with the principal subspace.

    `pairs` come from draw_judging_pairs. The oracle chooses among the candidates of one source. A mixture has the
    points of a subspace and none of the scores that need pairs.
    """
    losses, seed = config.losses, config.run.seed
    if (split.labels < 0).any():
        pairs = drop_principal_pairs(embeddings, *pairs, alpha, losses.oracle.normalizer, seed)
    for source in ("subspace", "encoder"):
        parts = [one for one in candidates if one.source == source]
        if not parts:
            continue
        paired = score_pairs(
            [one.points_ND for one in parts],
            *pairs,
            margin=losses.distance.margin,
            normalizer=losses.oracle.normalizer,
            seed=seed,
        )
        for one, scores in zip(parts, paired, strict=True):
            one.scores |= scores
    total = sum_variances(embeddings.subspaces_NKD)
    for one in candidates:
        if one.subspaces:
            one.scores["dot"] = compute_dot(embeddings.subspaces_NKD, one.subspaces, alpha)
            one.scores["spread"] = compute_spread(one.points_ND, total)


def score_clusters(one: Candidate, split: Split, manifest: Manifest, config: Config) -> None:
    """Score one clustering by itself, against the principal label, and against known factors, which no rule reads."""
    score_separation(one, config.run.seed)
    found = one.clusters.class_labels
    one.principal = compare_labels(found, split.labels.cpu().numpy())
    one.relation = name_relation(one.principal, config.discover.related_nmi)
    one.scores |= {
        "stability": compute_bootstrap_stability(
            one.clusters, one.recluster, config.discover.stability_samples, config.run.seed
        ),
        "principal_ami": one.principal["ami"],
    }
    if split.factors is not None:
        columns = split.factors.cpu().numpy().T
        one.factors = {
            name: compare_with_factor(found, column) for name, column in zip(manifest.factors, columns, strict=True)
        }
