"""How compact, many, complete and apart clusters are at once: the default choice rule, and the judge of merges.

N points, D size of a point; M of a subsample, C clusters.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from detaux.discover.cluster import Clusters

MOST_POINTS = 2000  # of a seeded subsample, where a score costs its square


def compute_silhouette(points_ND: Tensor, clusters: Clusters, seed: int) -> float:
    """Mean silhouette (Rousseeuw 1987) of at most MOST_POINTS points that are no outliers, 0 with less than two clusters."""
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
    # to the others of its own cluster, and to those of the nearest other one
    others_M1 = count_C[own_M1] - 1
    within_M1 = sum_MC.gather(1, own_M1) / others_M1.clamp_min(1)
    beyond_M1 = (sum_MC / count_C).scatter(1, own_M1, torch.inf).amin(1, keepdim=True)
    silhouette_M1 = (beyond_M1 - within_M1) / beyond_M1.maximum(within_M1)
    # a point alone in its cluster has 0, and so has one that coincides with both clusters
    return float(silhouette_M1.where(others_M1 > 0, 0).nan_to_num(0).mean())


def compute_separation(silhouette: float, validity: float, clusters: Clusters) -> float:
    """Silhouette x ln(clusters) x (1 - noise share) x ((1 + validity) / 2)^2: compact, many, complete and apart at once.

    The first three rise when two unrelated factors are told as one, in as many clusters as they have combinations; validity
    (DBCV, in [-1, 1]) falls, since a combination has others nearby that differ in the weaker factor alone. The square is the
    validity to first order where it is near 1, and not negative if outliers that joined clusters makes it so.
    """
    return silhouette * float(np.log(max(1, clusters.count))) * (1 - clusters.noise_share) * ((1 + validity) / 2) ** 2
