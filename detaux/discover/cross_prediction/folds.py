"""Take the confident images of each cluster, and label each fold of the images from those of the other.

N images, k clusters.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from detaux.config.schema import CrossPredictionConfig
from detaux.out_of_fold.folds import predict_out_of_fold

LEAST = 8  # confident images without which a cluster is not learned: four for each fold


@dataclass(frozen=True)
class Reading:
    """Hold what the two networks of one division find, probability_Nk float32, and the networks.

    `agreement` is that with the labels of the confident images. The network that reads an image has not seen it.
    """

    probability_Nk: np.ndarray
    agreement: float
    networks: tuple[nn.Module, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """Return the most probable cluster of each image."""
        return self.probability_Nk.argmax(1)

    @property
    def probability(self) -> np.ndarray:
        """Return the probability of that cluster."""
        return self.probability_Nk.max(1)


def number_learnable(labels: np.ndarray, least: int) -> tuple[int, np.ndarray]:
    """Return how many clusters have `least` images, and labels [N] that count only these; -1 for the others."""
    values, counts = np.unique(labels[labels >= 0], return_counts=True)
    names = values[counts >= least]
    numbers = np.full(labels.max(initial=-1) + 2, -1)  # the last one is for -1
    numbers[names] = np.arange(len(names))
    return len(names), numbers[labels]


def select_confident(labels: np.ndarray, probability: np.ndarray, keep: float) -> np.ndarray:
    """Return labels [N] in which all but the confident images of a cluster are -1.

    Confident are the share `keep` of a cluster with the highest probability, at least LEAST images, and those that tie
    with the last one. A cluster of fewer than LEAST images has none.
    """
    kept = np.full(len(labels), -1)
    for cluster in range(labels.max(initial=-1) + 1):
        members = np.flatnonzero(labels == cluster)
        if len(members) >= LEAST:
            count = max(LEAST, round(keep * len(members)))
            limit = np.partition(probability[members], len(members) - count)[len(members) - count]
            kept[members[probability[members] >= limit]] = cluster
    return kept


def compute_agreement(found: np.ndarray, confident: np.ndarray) -> float:
    """Compute the share of the confident images of a cluster that `found` labels alike, averaged over clusters.

    Both are [N]; -1 in `confident` marks the other images.
    """
    clusters = np.unique(confident[confident >= 0])
    return float(np.mean([(found[confident == cluster] == cluster).mean() for cluster in clusters]))


def read_folds(
    images_NHWC: Tensor, confident: np.ndarray, settings: CrossPredictionConfig, seed: tuple[int, ...], deadline: float
) -> Reading:
    """Train a network on the confident images of each fold, and label the other fold by it.

    `confident` has at least two clusters, numbered without gaps. Raises TimeoutError after `deadline`.
    """
    probability_Nk, networks = predict_out_of_fold(
        images_NHWC,
        confident,
        int(confident.max()) + 1,
        steps=settings.steps,
        batch_size=settings.batch_size,
        seed=seed,
        deadline=deadline,
    )
    return Reading(probability_Nk, compute_agreement(probability_Nk.argmax(1), confident), networks)
