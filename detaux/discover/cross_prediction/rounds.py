"""Mend the labels of a clustering by cross-prediction, round by round, and judge what each round gives.

N images, k clusters.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from detaux.config.schema import CrossPredictionConfig
from detaux.discover.cluster import renumber
from detaux.discover.cross_prediction.folds import LEAST, Reading, compute_agreement, read_folds, select_confident

LATER_KEEP = 0.8  # least share of each cluster on which later rounds train, since their start is cleaner
SURE = 0.8  # an image below this mean probability is undecided
SETTLED = 0.005  # a round that changes a smaller share of the labels is the last
LEAST_AGREEMENT = 0.8  # below it the networks cannot learn the clusters, and no round mends them


@dataclass(frozen=True)
class CrossPrediction:
    """Hold what cross-prediction makes of a clustering.

    labels           int64 [N], 0 for the largest cluster, those of the round `kept`; no image is an outlier
    probability      float32 [N], that of the label, averaged over two networks that did not see the image
    agreement        share of the confident images of a cluster that keep their label, averaged over clusters
    reproducibility  adjusted Rand index, over all images, of the labels by two divisions and networks trained apart
    undecided        share of the images whose mean probability is below SURE; these three are scores of the first round
    kept             the round whose labels these are; 0: the judge prefers the labels from which round 1 began. Then
                     `labels` and `probability` are these, with -1 for outliers.
    rounds           rounds taken
    seconds          time of all rounds
    """

    labels: np.ndarray
    probability: np.ndarray
    agreement: float
    reproducibility: float
    undecided: float
    kept: int
    rounds: int
    seconds: float

    def to_row(self) -> dict[str, float]:
        """Return what discovery.json says beside the scores."""
        return {"kept_round": self.kept, "rounds": self.rounds, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class _Round:
    """Hold one round: the labels [N] from which it began, the confident ones of these, and the readings of two divisions."""

    start: np.ndarray
    confident: np.ndarray
    first: Reading
    second: Reading

    @property
    def probability_Nk(self) -> np.ndarray:
        return (self.first.probability_Nk + self.second.probability_Nk) / 2

    @property
    def labels(self) -> np.ndarray:
        return self.probability_Nk.argmax(1)

    @property
    def probability(self) -> np.ndarray:
        return self.probability_Nk.max(1)

    @property
    def agreement(self) -> float:
        return (self.first.agreement + self.second.agreement) / 2

    @property
    def reproducibility(self) -> float:
        return float(adjusted_rand_score(self.first.labels, self.second.labels))

    @property
    def undecided(self) -> float:
        return float((self.probability < SURE).mean())

    def mends(self) -> bool:
        """Return whether these labels are likelier to be right than those from which the round began.

        If three labellings err independently, two of them agree the more the less both err. So the start errs more than
        the networks if these agree with each other better than with the start. Outliers of the start are left out.
        """
        known = self.start >= 0
        first, second, start = self.first.labels[known], self.second.labels[known], self.start[known]
        between = adjusted_rand_score(first, second)
        with_start = (adjusted_rand_score(first, start) + adjusted_rand_score(second, start)) / 2
        return self.agreement >= LEAST_AGREEMENT and len(np.unique(self.labels)) > 1 and between >= with_start


def cross_predict(
    images_NHWC: Tensor,
    labels: np.ndarray,
    probability: np.ndarray,
    settings: CrossPredictionConfig,
    seed: int,
    deadline: float = math.inf,
) -> CrossPrediction | None:
    """Mend a clustering of images uint8 [N, S, S, C] from shrink_images: labels [N] with -1 for outliers.

    Return None if fewer than two clusters have enough images to be learned, or if `time.monotonic()` passes `deadline`
    before the first round ends. If a later round does not end in time, the ones before it stand.
    """
    begun, rounds = time.monotonic(), list[_Round]()
    names, start = _number_learnable(labels)
    if len(names) < 2:
        return None
    sure = probability
    for number in range(1, settings.rounds + 1):
        keep = settings.keep if number == 1 else max(settings.keep, LATER_KEEP)
        confident = select_confident(start, sure, keep)
        if min(np.bincount(confident[confident >= 0], minlength=len(names))) == 0:  # a cluster has vanished
            break
        try:
            first, second = (
                read_folds(images_NHWC, confident, settings, (seed, number, division), deadline) for division in (0, 1)
            )
        except TimeoutError:
            break
        rounds.append(_Round(start, confident, first, second))
        latest = rounds[-1]
        changed = float((latest.labels != start).mean())
        start, sure = latest.labels, latest.probability
        if changed < SETTLED or latest.agreement < LEAST_AGREEMENT:
            break
    if not rounds:
        return None
    kept = _judge(rounds)
    if kept:
        found, sure = renumber(rounds[kept - 1].labels), rounds[kept - 1].probability
    else:
        found, sure = labels, probability
    # later rounds make cuts of a continuum more reproducible too, so candidates are compared by the first round
    scores = (rounds[0].agreement, rounds[0].reproducibility, rounds[0].undecided)
    return CrossPrediction(found, sure, *scores, kept, len(rounds), time.monotonic() - begun)


def _judge(rounds: list[_Round]) -> int:
    """Return the number of the round to keep; 0 means the labels from which the first began.

    Later rounds make networks reproduce each other better even if the labels drift away from the factor. So a later
    round replaces the one before only if it also keeps as many labels of the images that were confident at
    first.
    """
    kept, anchors = int(rounds[0].mends()), rounds[0].confident
    for number in range(2, len(rounds) + 1):
        before, one = rounds[number - 2], rounds[number - 1]
        is_surer = one.reproducibility >= before.reproducibility and one.undecided <= before.undecided
        loss = compute_agreement(before.labels, anchors) - compute_agreement(one.labels, anchors)
        if kept == number - 1 and kept and is_surer and loss <= SETTLED and one.mends():
            kept = number
    return kept


def _number_learnable(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the clusters that have enough images [k], and labels [N] that count only these; -1 for the others."""
    values, counts = np.unique(labels[labels >= 0], return_counts=True)
    names = values[counts >= LEAST]
    numbers = np.full(labels.max(initial=-1) + 2, -1)  # the last one is for -1
    numbers[names] = np.arange(len(names))
    return names, numbers[labels]
