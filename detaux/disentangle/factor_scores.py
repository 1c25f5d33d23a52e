"""Score how well subspaces match known factors. The scores are only reported, never used to train or to choose.

N samples, K subspaces, D latent size, F factors.
"""

from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import mutual_info_score

from detaux.data.prepare import fit_batch, prepare_images
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.disentangle.model import Disentangler

MOST_SAMPLES = 4000
BATCH = 512  # most images in a batch
COMPONENTS = 2  # principal components that represent a subspace in DCI
BINS = 20  # cells that divide a subspace for MIG
TREES = 40  # of each random forest in DCI


def score_factors(model: Disentangler, split: Split, manifest: Manifest) -> dict[str, Any]:
    """Return variance share [K][F], DCI and MIG of a split, or {} if the split has no known factors."""
    if split.factors is None:
        return {}
    chosen = torch.randperm(len(split.keys), generator=torch.Generator().manual_seed(0))[:MOST_SAMPLES]
    device = next(model.parameters()).device
    with torch.no_grad():
        parts = [
            model.project(model.encode(prepare_images(split.images[rows], device)))
            for rows in chosen.split(fit_batch(BATCH, split.images.shape))
        ]
    subspaces_NKD = torch.cat(parts).float().cpu().numpy()
    factors_NF = split.factors[chosen].cpu().numpy()
    return {
        "factors": list(manifest.factors),
        "variance_share": compute_variance_share(subspaces_NKD, factors_NF).round(6).tolist(),
        "dci": compute_dci(subspaces_NKD, factors_NF),
        "mig": compute_mig(subspaces_NKD, factors_NF),
    }


def compute_variance_share(subspaces_NKD: np.ndarray, factors_NF: np.ndarray) -> np.ndarray:
    """Compute the share [K, F] of each subspace's variance that is between the values of a factor."""
    centred = subspaces_NKD - subspaces_NKD.mean(0)
    total_K = np.maximum((centred**2).sum((0, 2)), 1e-12)
    shares = np.zeros((subspaces_NKD.shape[1], factors_NF.shape[1]))
    for column, factor_N in enumerate(factors_NF.T):
        between_K = np.zeros(len(total_K))
        for value in np.unique(factor_N):
            group = centred[factor_N == value]
            between_K += len(group) * (group.mean(0) ** 2).sum(1)
        shares[:, column] = between_K / total_K
    return shares


def _one_minus_entropy(weights: np.ndarray) -> np.ndarray:
    """Return 1 - entropy of each row of non-negative weights. The logarithm's base is the number of columns."""
    shares = weights / np.maximum(weights.sum(1, keepdims=True), 1e-12)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return 1 + (shares * logs).sum(1) / np.log(max(2, weights.shape[1]))


def compute_dci(subspaces_NKD: np.ndarray, factors_NF: np.ndarray) -> dict[str, float]:
    """Compute disentanglement, completeness and informativeness (Eastwood and Williams, ICLR 2018).

    Each subspace counts as one code. A random forest predicts each factor, and its importances are summed over the
    leading principal components of a subspace. Informativeness is the forests' mean accuracy on the half of the samples
    that they were not fitted on.
    """
    samples, subspaces, latent = subspaces_NKD.shape
    kept = min(COMPONENTS, latent, samples)
    codes = np.concatenate(
        [PCA(kept, random_state=0).fit_transform(subspaces_NKD[:, index]) for index in range(subspaces)], axis=1
    )
    half = samples // 2
    importance_KF = np.zeros((subspaces, factors_NF.shape[1]))
    accuracies = []
    for column, factor_N in enumerate(factors_NF.T):
        forest = RandomForestClassifier(TREES, max_depth=10, random_state=0).fit(codes[:half], factor_N[:half])
        importance_KF[:, column] = forest.feature_importances_.reshape(subspaces, kept).sum(1)
        accuracies.append(float(forest.score(codes[half:], factor_N[half:])))
    weight_K = importance_KF.sum(1) / max(importance_KF.sum(), 1e-12)
    return {
        "disentanglement": round(float((_one_minus_entropy(importance_KF) * weight_K).sum()), 6),
        "completeness": round(float(_one_minus_entropy(importance_KF.T).mean()), 6),
        "informativeness": round(float(np.mean(accuracies)), 6),
    }


def compute_mig(subspaces_NKD: np.ndarray, factors_NF: np.ndarray) -> float:
    """Compute the mutual information gap (Chen et al., NeurIPS 2018).

    For each factor, it is the difference in mutual information between the two most informative subspaces, divided by
    the factor's entropy. The result is the mean over factors. K-means divides each subspace into cells.
    """
    cells = [
        KMeans(BINS, n_init=1, random_state=0).fit_predict(subspaces_NKD[:, index])
        for index in range(subspaces_NKD.shape[1])
    ]
    gaps = []
    for factor_N in factors_NF.T:
        entropy = mutual_info_score(factor_N, factor_N)
        if entropy > 0:
            first, second = sorted((mutual_info_score(factor_N, cell) for cell in cells), reverse=True)[:2]
            gaps.append((first - second) / entropy)
    return round(float(np.mean(gaps)), 6) if gaps else 0.0
