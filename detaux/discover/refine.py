"""Mend and judge candidates by cross-prediction before the choice (`discover.cross_prediction`)."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from detaux.config import Config
from detaux.config.choice_rules import CHOICE_RULES
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate, Fault
from detaux.discover.choose import find_fault, rank_candidates
from detaux.discover.cluster import Clusters
from detaux.discover.cross_prediction.attraction import measure_attraction
from detaux.discover.cross_prediction.rounds import CrossPrediction, Opening, cross_predict, open_rounds
from detaux.discover.scores import score_clusters
from detaux.out_of_fold.network import shrink_images
from detaux.runtime.progress import say, track

SCORE = "recognition"
CROSS_SCORES = ("cross_agreement", "cross_reproducibility", "cross_undecided", SCORE, "attraction")

UNJUDGED = "not judged: discover.cross_prediction.max_seconds had passed, or fewer than two clusters have enough images"


def refine_candidates(pool: Sequence[Candidate], split: Split, manifest: Manifest, config: Config) -> bool:
    """Cross-predict the candidates that have no fault, in the order of the choice rule; return whether any changed.

    Their scores get `cross_agreement`, `cross_reproducibility`, `cross_undecided` and `recognition`, and `attraction` if
    `discover.min_attraction` asks for it. They are None for candidates that were not cross-predicted. If the judge
    prefers the mended labels, these become the candidate's clusters, without outliers, and are scored and examined for
    faults again. `discover.cross_prediction.rounds=0` does nothing.
    """
    settings = config.discover.cross_prediction
    if settings.rounds == 0:
        return False
    begun, most = time.monotonic(), settings.max_seconds or math.inf
    images_NHWC = shrink_images(split.images, config.data.noise, config.data.denoise, config.run.seed)
    ranking = rank_candidates(pool, config.discover.choose)
    for one in pool:
        one.scores |= dict.fromkeys(CROSS_SCORES)
    openings: dict[int, Opening] = {}
    if SCORE in dict(CHOICE_RULES[config.discover.choose].scores):
        openings = _open_all(pool, ranking, images_NHWC, config, begun + most / 2)
        ranking.sort(key=lambda place: -openings[place].promise if place in openings else math.inf)
    with track("discover: cross-predict", len(ranking)) as advance:
        for place in ranking:
            one, clusters = pool[place], pool[place].clusters
            one.cross = cross_predict(
                images_NHWC,
                clusters.labels,
                clusters.probability,
                settings,
                config.run.seed,
                begun + most,
                config.discover.min_recognition,
                openings.pop(place, None),
            )
            if one.cross:
                _take(one, one.cross, split, manifest, config)
                _attract(one, clusters, images_NHWC, config, begun + most)
            advance(note=f"{one.title}: {one.clusters.count} clusters")
    for one in (pool[place] for place in ranking):
        if one.cross is None and max(config.discover.min_recognition, config.discover.min_attraction) > 0:
            one.fault = Fault("not_recognised", UNJUDGED)
    if time.monotonic() > begun + most:
        done = sum(one.cross is not None for one in pool)
        say(
            f"discover: cross-prediction ended after discover.cross_prediction.max_seconds={settings.max_seconds:g}: "
            f"{done} of {len(ranking)} candidates were judged."
        )
    return any(one.cross is not None and one.cross.kept > 0 for one in pool)


def _open_all(
    pool: Sequence[Candidate], ranking: Sequence[int], images_NHWC: Tensor, config: Config, deadline: float
) -> dict[int, Opening]:
    """Read the first division of each candidate until `deadline`; return what was found by positions in the pool.

    A rule that compares recognition does not know the best candidate before. What the first division promises orders
    the candidates, so that a time bound does not leave the best one unjudged.
    """
    found, settings, seed = dict[int, Opening](), config.discover.cross_prediction, config.run.seed
    with track("discover: cross-predict, first division", len(ranking)) as advance:
        for place in ranking:
            one = pool[place]
            labels, probability = one.clusters.labels, one.clusters.probability
            opening = open_rounds(images_NHWC, labels, probability, settings, seed, deadline)
            if opening is not None:
                found[place] = opening
            advance(note=f"{one.title}: {one.clusters.count} clusters")
    return found


def _take(one: Candidate, cross: CrossPrediction, split: Split, manifest: Manifest, config: Config) -> None:
    """Add the scores of cross-prediction to a candidate, and its labels if the judge prefers them."""
    values = (cross.agreement, cross.reproducibility, cross.undecided, cross.recognition, None)
    one.scores |= dict(zip(CROSS_SCORES, values, strict=True))
    if cross.kept:
        before = one.clusters
        one.clusters = Clusters(cross.labels, cross.probability, before.backend, before.seconds, before.cost)
        one.scores["separation"] = None  # it belongs to the old labels, and is computed again if it is missing
        score_clusters(one, split, manifest, config)
    one.fault = find_fault(one, config.discover)
    if one.fault:  # networks are kept only as long as the candidate may be chosen
        one.cross = replace(cross, recogniser=None)


def _attract(one: Candidate, start: Clusters, images_NHWC: Tensor, config: Config, deadline: float) -> None:
    """Score how well the clusters from which a candidate began attract their borders, if it may still be chosen."""
    if one.fault or config.discover.min_attraction == 0:
        return
    settings, labels = config.discover.cross_prediction, np.where(start.probability > 0, start.labels, -1)
    try:
        found = measure_attraction(images_NHWC, one.points_ND, labels, settings, config.run.seed, deadline)
    except TimeoutError:
        found = None
    one.scores["attraction"] = found
    one.fault = Fault("not_recognised", UNJUDGED) if found is None else find_fault(one, config.discover)
    if one.fault and one.cross:
        one.cross = replace(one.cross, recogniser=None)
