"""Label images that cross-prediction has not seen, by the networks that it trained.

N images, S side in pixels, C channels, k clusters that the networks know.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from detaux.out_of_fold.training import predict_folds


@dataclass(frozen=True)
class Recogniser:
    """Hold the networks of one round, and what the label of each of their classes is, labels_k int64 [k].

    A class that no training image got has the label -1, and no image gets it.
    """

    networks: tuple[nn.Module, ...]
    labels_k: np.ndarray

    def recognise(self, images_NHWC: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return labels int64 [N] of images uint8 [N, S, S, C] from shrink_images, and probabilities float32 [N].

        The probability of a label is its mean over the networks.
        """
        whole_N, classes = np.zeros(len(images_NHWC), np.int64), len(self.labels_k)
        parts = [predict_folds([network], images_NHWC, whole_N, classes) for network in self.networks]
        probability_Nk = np.mean(parts, axis=0)[:, self.labels_k >= 0]
        return self.labels_k[self.labels_k >= 0][probability_Nk.argmax(1)], probability_Nk.max(1)


def match_labels(classes_N: np.ndarray, labels_N: np.ndarray, classes: int) -> np.ndarray:
    """Return the label of each class [k], from classes [N] of images and their labels [N]; -1 for a class without any.

    Images of one class have one label. Images with the class -1 do not count.
    """
    labels_k = np.full(classes, -1)
    is_known = classes_N >= 0
    labels_k[classes_N[is_known]] = labels_N[is_known]
    return labels_k
