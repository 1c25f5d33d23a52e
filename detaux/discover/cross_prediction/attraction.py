"""Tell clusters from cuts of a continuum: move their borders, and see whether networks move them back.

N images, k clusters, D size of a vector, S side in pixels, C channels.
"""

import math

import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from detaux.config.schema import CrossPredictionConfig
from detaux.discover.cross_prediction.folds import LEAST, number_learnable, read_folds, select_confident

DIVISION = 2  # cross_predict draws with 0 and 1
GIVEN = 0.5  # share of a cluster that goes to its neighbours
LEAST_GIVER = 2 * LEAST  # images of a cluster; it must stay learnable when it has given


def move_borders(points_ND: Tensor, labels_N: np.ndarray, parity: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the images of some clusters that are nearest to another cluster to that cluster.

    Clusters whose number is odd (parity 1) or even (0) give the share GIVEN of their images to the others. Return the
    new labels [N], -1 for outliers, and how far each image is inside its new cluster, float64 [N]: the squared distance
    to the nearest other centre minus that to its own. Centres are means of the clusters before.
    """
    count = int(labels_N.max()) + 1
    centres_kD = torch.stack([points_ND[torch.from_numpy(labels_N == one)].mean(0) for one in range(count)])
    distance_Nk = torch.cdist(points_ND.double(), centres_kD.double()).square().cpu().numpy()
    takes_k = np.arange(count) % 2 != parity
    new_N = labels_N.copy()
    for cluster in np.flatnonzero(~takes_k):
        members = np.flatnonzero(labels_N == cluster)
        receiver = np.where(takes_k, distance_Nk[members], np.inf).argmin(1)
        depth = distance_Nk[members, receiver] - distance_Nk[members, cluster]
        given = np.argsort(depth, kind="stable")[: int(GIVEN * len(members))]
        new_N[members[given]] = receiver[given]
    own = np.arange(count) == new_N[:, None]
    inside_N = np.where(own, np.inf, distance_Nk).min(1) - np.where(own, distance_Nk, np.inf).min(1)
    return new_N, np.where(new_N >= 0, inside_N, -np.inf)


def measure_attraction(
    images_NHWC: Tensor,
    points_ND: Tensor,
    labels_N: np.ndarray,
    settings: CrossPredictionConfig,
    seed: int,
    deadline: float = math.inf,
) -> float | None:
    """Measure how well networks agree that learn the clusters with borders moved one way and the other.

    Images uint8 [N, S, S, C] come from shrink_images, points are what was clustered, and labels are the clusters, -1 for
    outliers. The result is the adjusted Rand index of all images' labels by networks that did not see them. Between the
    values of a factor is nothing that the border could divide: wherever it is put, networks find the same values. A cut
    through a continuum stays near the place where it was put. The result is None if fewer than two clusters have enough
    images. Raises TimeoutError after `deadline`.
    """
    found, (count, labels_N) = [], number_learnable(labels_N, LEAST_GIVER)
    if count < 2:
        return None
    for parity in (0, 1):
        moved_N, inside_N = move_borders(points_ND, labels_N, parity)
        confident_N = select_confident(moved_N, inside_N, settings.keep)
        found.append(read_folds(images_NHWC, confident_N, settings, (seed, DIVISION, parity), deadline).labels)
    return float(adjusted_rand_score(*found))
