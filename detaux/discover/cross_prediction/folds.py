"""Divide images into folds, take the confident ones of each cluster, and label each fold from the other.

N images, k clusters.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from detaux.config.schema import CrossPredictionConfig
from detaux.discover.cross_prediction.training import predict_folds, train_network

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


def draw_folds(confident: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Divide images into two folds, [N] of 0 and 1, at random but so that the confident ones of a cluster are halved."""
    fold = np.empty(len(confident), np.int64)
    for value in np.unique(confident):
        members = random.permutation(np.flatnonzero(confident == value))
        fold[members] = (np.arange(len(members)) + random.integers(2)) % 2
    return fold


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
    clusters = int(confident.max()) + 1
    fold = draw_folds(confident, np.random.default_rng(seed))
    networks = []
    for number in range(2):
        rows = np.flatnonzero((fold != number) & (confident >= 0))
        networks.append(
            train_network(images_NHWC, rows, confident[rows], clusters, settings, (*seed, number), deadline)
        )
    probability_Nk = predict_folds(networks, images_NHWC, fold, clusters)
    return Reading(probability_Nk, compute_agreement(probability_Nk.argmax(1), confident), tuple(networks))
