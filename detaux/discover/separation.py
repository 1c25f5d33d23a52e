"""Score clusters that are compact, many, complete and apart at once: the default choice rule, which also judges merges.

N points, D size of a point, M points of a subsample, C clusters.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from detaux.discover.cluster import Clusters

MOST_POINTS = 2000  # size of a seeded subsample, for scores of quadratic cost


def compute_silhouette(points_ND: Tensor, clusters: Clusters, seed: int) -> float:
    """Compute the mean silhouette (Rousseeuw 1987) of at most MOST_POINTS points that are no outliers.

    It is 0 if less than two clusters were drawn, or if every drawn point is its own cluster.
    """
    random = np.random.default_rng(seed)
    chosen = random.permutation(np.flatnonzero(clusters.labels >= 0))[:MOST_POINTS]
    values, labels_M = np.unique(clusters.labels[chosen], return_inverse=True)
    if not 2 <= len(values) < len(labels_M):
        return 0.0
    sample_MD = points_ND[torch.from_numpy(chosen)].double()
    distance_MM = torch.cdist(sample_MD - sample_MD.mean(0), sample_MD - sample_MD.mean(0))
    own_M1 = torch.from_numpy(labels_M).to(points_ND.device)[:, None]
    belongs_MC = one_hot(own_M1[:, 0], len(values)).double()
    sum_MC, count_C = distance_MM @ belongs_MC, belongs_MC.sum(0)
    # mean distances to the others of the point's own cluster, and to the points of the nearest other cluster
    others_M1 = count_C[own_M1] - 1
    within_M1 = sum_MC.gather(1, own_M1) / others_M1.clamp_min(1)
    beyond_M1 = (sum_MC / count_C).scatter(1, own_M1, torch.inf).amin(1, keepdim=True)
    silhouette_M1 = (beyond_M1 - within_M1) / beyond_M1.maximum(within_M1)
    # the only point of a cluster has 0, and so has a point that coincides with both clusters
    return float(silhouette_M1.where(others_M1 > 0, 0).nan_to_num(0).mean())


def compute_separation(silhouette: float, validity: float, clusters: Clusters) -> float:
    """Compute silhouette x ln(clusters) x (1 - outlier fraction) x ((1 + validity) / 2)^2.

    The score is high if clusters are compact, many, complete and apart at once. If two unrelated factors are taken for
    one, with a cluster for each combination, the first three parts rise. Validity (DBCV, in [-1, 1]) falls then,
    because a combination has others nearby that differ only in the weaker factor. To first order the square equals the
    validity near 1. It does not become negative if outliers that joined clusters make the validity negative.
    """
    return (
        silhouette * float(np.log(max(1, clusters.count))) * (1 - clusters.outlier_fraction) * ((1 + validity) / 2) ** 2
    )
