"""Mend the labels of a clustering by cross-prediction, round by round, and judge what each round gives.

N images, k clusters.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from detaux.config.schema import CrossPredictionConfig
from detaux.discover.cluster import renumber
from detaux.discover.cross_prediction.folds import (
    LEAST,
    Reading,
    compute_agreement,
    number_learnable,
    read_folds,
    select_confident,
)
from detaux.discover.cross_prediction.recogniser import Recogniser, match_labels

LATER_KEEP = 0.8  # least share of each cluster on which later rounds train, since their start is cleaner
SURE = 0.8  # an image below this mean probability is undecided
SETTLED = 0.005  # a round that changes a smaller share of the labels is the last
LEAST_AGREEMENT = 0.8  # below it the networks cannot learn the clusters, and no round mends them


@dataclass(frozen=True)
class CrossPrediction:
    """Hold what cross-prediction makes of a clustering.

    labels           int64 [N], 0 for the largest cluster, those of the round `kept`; no image is an outlier
    probability      float32 [N], that of the label, averaged over two networks that did not see the image
    agreement        share of the confident images of a cluster that keep their label, averaged over clusters, in the
                     division that agrees less
    reproducibility  adjusted Rand index, over all images, of the labels by two divisions and networks trained apart
    undecided        share of the images whose mean probability is below SURE; these three are scores of the first round
    kept             the round whose labels these are; 0: the judge prefers the labels from which round 1 began. Then
                     `labels` and `probability` are these, with -1 for outliers.
    rounds           rounds taken; 0: the first division was enough to refuse the candidate. Then `reproducibility` is
                     None, and `agreement` and `undecided` bound what the whole round would give from above and below.
    seconds          time of all rounds, with what `is_worth_more` of cross_predict took between them
    recogniser       labels other images by the networks that learned `labels`; None if `rounds` is 0, or if the
                     candidate has got a fault since
    """

    labels: np.ndarray
    probability: np.ndarray
    agreement: float
    reproducibility: float | None
    undecided: float
    kept: int
    rounds: int
    seconds: float
    recogniser: Recogniser | None = None

    @property
    def recognition(self) -> float:
        """Return how well networks recognise the clusters; after one division only, the most that it can become."""
        return _compute_recognition(
            self.agreement, 1.0 if self.reproducibility is None else self.reproducibility, self.undecided
        )

    def to_row(self) -> dict[str, float]:
        """Return what discovery.json says beside the scores."""
        return {"kept_round": self.kept, "rounds": self.rounds, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class Opening:
    """Hold the first division of the first round: labels [N] to begin from, the confident ones of these, the reading."""

    start: np.ndarray
    confident: np.ndarray
    first: Reading
    seconds: float

    @property
    def undecided(self) -> float:
        """Return the share of images that stay undecided even if the second division gives its label to each surely."""
        return float(((self.first.probability + 1) / 2 < SURE).mean())

    @property
    def bound(self) -> float:
        """Return the highest recognition that the candidate can still get."""
        return _compute_recognition(self.first.agreement, 1.0, self.undecided)

    @property
    def promise(self) -> float:
        """Return the recognition that the candidate gets if the second division only repeats the first."""
        return _compute_recognition(self.first.agreement, 1.0, float((self.first.probability < SURE).mean()))


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
        return min(self.first.agreement, self.second.agreement)

    @property
    def reproducibility(self) -> float:
        return float(adjusted_rand_score(self.first.labels, self.second.labels))

    @property
    def undecided(self) -> float:
        return float((self.probability < SURE).mean())

    @property
    def recognition(self) -> float:
        return _compute_recognition(self.agreement, self.reproducibility, self.undecided)

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


def _compute_recognition(agreement: float, reproducibility: float, undecided: float) -> float:
    return agreement * max(0.0, reproducibility) * (1 - undecided)


def open_rounds(
    images_NHWC: Tensor,
    labels: np.ndarray,
    probability: np.ndarray,
    settings: CrossPredictionConfig,
    seed: int,
    deadline: float = math.inf,
) -> Opening | None:
    """Read the first division of the first round. The arguments, and when the result is None, are as in cross_predict."""
    begun = time.monotonic()
    # an image without any probability was put into a cluster without a look at it, and teaches nothing
    count, start = number_learnable(np.where(probability > 0, labels, -1), LEAST)
    if count < 2:
        return None
    confident = select_confident(start, probability, settings.keep)
    try:
        first = read_folds(images_NHWC, confident, settings, (seed, 1, 0), deadline)
    except TimeoutError:
        return None
    return Opening(start, confident, first, time.monotonic() - begun)


def cross_predict(
    images_NHWC: Tensor,
    labels: np.ndarray,
    probability: np.ndarray,
    settings: CrossPredictionConfig,
    seed: int,
    deadline: float = math.inf,
    least: float = 0.0,
    opening: Opening | None = None,
    is_worth_more: Callable[[], bool] = lambda: True,
) -> CrossPrediction | None:
    """Mend a clustering of images uint8 [N, S, S, C] from shrink_images: labels [N] with -1 for outliers.

    A candidate whose recognition is, or can only be, below `least` is refused anyway, so that no more is trained for
    it. After the first round of another, `is_worth_more` decides about later ones. `opening` is what open_rounds gave
    for the same arguments, if it was called before. Return None if fewer than two clusters have enough images to be
    learned, or if `time.monotonic()` passes `deadline` before the first round ends. If a later round does not end in
    time, the ones before it stand.
    """
    begun, rounds = time.monotonic(), list[_Round]()
    if opening is None:
        opening = open_rounds(images_NHWC, labels, probability, settings, seed, deadline)
    else:
        begun -= opening.seconds
    if opening is None:
        return None
    if opening.bound < least:
        agreement, undecided = opening.first.agreement, opening.undecided
        return CrossPrediction(labels, probability, agreement, None, undecided, 0, 0, time.monotonic() - begun)
    start, confident, count = opening.start, opening.confident, opening.confident.max() + 1
    for number in range(1, settings.rounds + 1):
        try:
            first, second = (
                opening.first
                if (number, division) == (1, 0)
                else read_folds(images_NHWC, confident, settings, (seed, number, division), deadline)
                for division in (0, 1)
            )
        except TimeoutError:
            break
        rounds.append(_Round(start, confident, first, second))
        latest = rounds[-1]
        changed = float((latest.labels != start).mean())
        start = latest.labels
        confident = select_confident(start, latest.probability, max(settings.keep, LATER_KEEP))
        has_vanished = min(np.bincount(confident[confident >= 0], minlength=count)) == 0
        is_hopeless = latest.agreement < LEAST_AGREEMENT or rounds[0].recognition < least
        if is_hopeless or (number == 1 and not is_worth_more()) or changed < SETTLED or has_vanished:
            break
    return _sum_up(rounds, labels, probability, time.monotonic() - begun) if rounds else None


def _sum_up(rounds: list[_Round], labels: np.ndarray, probability: np.ndarray, seconds: float) -> CrossPrediction:
    """Return what the rounds make of the labels and probabilities [N] with which cross-prediction began."""
    kept = _judge(rounds)
    taken = rounds[max(kept, 1) - 1]
    classes = taken.labels if kept else taken.start
    found, sure = (renumber(classes), taken.probability) if kept else (labels, probability)
    networks = taken.first.networks + taken.second.networks
    recogniser = Recogniser(networks, match_labels(classes, found, taken.probability_Nk.shape[1]))
    # later rounds make cuts of a continuum more reproducible too, so candidates are compared by the first round
    scores = (rounds[0].agreement, rounds[0].reproducibility, rounds[0].undecided)
    return CrossPrediction(found, sure, *scores, kept, len(rounds), seconds, recogniser)


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
