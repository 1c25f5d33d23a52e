"""Divide images into two folds, and label each fold by a network that was trained on the other.

N images, S side in pixels, C channels, k classes.
"""

import math

import numpy as np
from torch import nn

from detaux.data.image_rows import Images
from detaux.out_of_fold.training import predict_folds, train_network


def draw_folds(labels_N: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Divide images into two folds, [N] of 0 and 1, at random but so that those of one label are halved."""
    fold = np.empty(len(labels_N), np.int64)
    for value in np.unique(labels_N):
        members = random.permutation(np.flatnonzero(labels_N == value))
        fold[members] = (np.arange(len(members)) + random.integers(2)) % 2
    return fold


def predict_out_of_fold(
    images_NHWC: Images,
    labels_N: np.ndarray,
    classes: int,
    *,
    steps: int,
    batch_size: int,
    seed: tuple[int, ...],
    deadline: float = math.inf,
) -> tuple[np.ndarray, tuple[nn.Module, nn.Module]]:
    """Return the probability of each class, float32 [N, k], by the network that was not trained on the image's fold.

    The two networks are returned too.

    Images uint8 [N, S, S, C] come from shrink_images. Those with label -1 are labelled, but train no network. Both folds
    need an image with a label. Raises TimeoutError after `deadline`.
    """
    fold_N = draw_folds(labels_N, np.random.default_rng(seed))

    def train(number: int) -> nn.Module:
        rows = np.flatnonzero((fold_N != number) & (labels_N >= 0))
        return train_network(images_NHWC, rows, labels_N[rows], classes, steps, batch_size, (*seed, number), deadline)

    networks = train(0), train(1)
    return predict_folds(networks, images_NHWC, fold_N, classes), networks
