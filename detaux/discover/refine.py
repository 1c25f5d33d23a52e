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
from detaux.discover.cross_prediction.processes import map_tasks, use_processes
from detaux.discover.cross_prediction.rounds import CrossPrediction, Opening, cross_predict, open_rounds
from detaux.discover.dependence import compute_independence
from detaux.discover.scores import score_clusters
from detaux.out_of_fold.network import shrink_images
from detaux.runtime.progress import say, track

SCORE = "independent_recognition"
CROSS_SCORES = ("cross_agreement", "cross_reproducibility", "cross_undecided", "recognition", SCORE, "attraction")

UNJUDGED = "not judged: discover.cross_prediction.max_seconds had passed, or fewer than two clusters have enough images"


def refine_candidates(pool: Sequence[Candidate], split: Split, manifest: Manifest, config: Config) -> bool:
    """Cross-predict the candidates that have no fault, in the order of the choice rule; return whether any changed.

    Their scores get `cross_agreement`, `cross_reproducibility`, `cross_undecided`, `recognition`,
    `independent_recognition` (the same times the independence of the principal label), and `attraction` if
    `discover.min_attraction` asks for it. They are None for
    candidates that were not cross-predicted. If the judge prefers the mended labels, these become the candidate's
    clusters, without outliers, and are scored and examined for faults again. `discover.cross_prediction.rounds=0` does
    nothing.
    """
    settings = config.discover.cross_prediction
    if settings.rounds == 0:
        return False
    begun, most = time.monotonic(), settings.max_seconds or math.inf
    images_NHWC = shrink_images(split.images, config.data.noise, config.data.denoise, config.run.seed)
    ranking = rank_candidates(pool, config.discover.choose)
    for one in pool:
        one.scores |= dict.fromkeys(CROSS_SCORES)
    with use_processes(settings.processes, len(ranking), images_NHWC.device) as count:
        openings: dict[int, Opening] = {}
        if SCORE in dict(CHOICE_RULES[config.discover.choose].scores):
            openings = _open_all(pool, ranking, images_NHWC, config, begun + most / 2, count)
            ranking.sort(key=lambda place: -openings[place].promise if place in openings else math.inf)
        tasks = (
            (pool[place].points_ND, pool[place].clusters, openings.pop(place, None), config, begun + most)
            for place in ranking
        )
        with track("discover: cross-predict", len(ranking)) as advance:
            judged = map_tasks(_judge, images_NHWC, tasks, count)
            for one, (cross, attraction) in zip((pool[place] for place in ranking), judged, strict=True):
                one.cross = cross
                if cross:
                    _take(one, cross, attraction, split, manifest, config)
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
    pool: Sequence[Candidate],
    ranking: Sequence[int],
    images_NHWC: Tensor,
    config: Config,
    deadline: float,
    processes: int,
) -> dict[int, Opening]:
    """Read the first division of each candidate until `deadline`; return what was found by positions in the pool.

    The rule that compares recognition does not know the best candidate before. What the first division promises orders
    the candidates, so that a time bound does not leave the best one unjudged.
    """
    settings, seed = config.discover.cross_prediction, config.run.seed
    starts = [pool[place].clusters for place in ranking]
    tasks = [(one.labels, one.probability, settings, seed, deadline) for one in starts]
    found = dict[int, Opening]()
    with track("discover: cross-predict, first division", len(ranking)) as advance:
        for place, opening in zip(ranking, map_tasks(open_rounds, images_NHWC, tasks, processes), strict=True):
            if opening is not None:
                found[place] = opening
            advance(note=f"{pool[place].title}: {pool[place].clusters.count} clusters")
    return found


def _judge(
    images_NHWC: Tensor,
    points_ND: Tensor,
    start: Clusters,
    opening: Opening | None,
    config: Config,
    deadline: float,
) -> tuple[CrossPrediction | None, float | None]:
    """Cross-predict one candidate from its points and clusters; return that, and how its clusters attract their borders.

    Attraction is None if it is not asked for, if the candidate is hardly recognised, or if there is no time for it. A
    candidate that it refuses gets no second round.
    """
    settings, seed, discover = config.discover.cross_prediction, config.run.seed, config.discover
    found: list[float | None] = []

    def attracts() -> bool:
        if discover.min_attraction == 0:
            return True
        labels = np.where(start.probability > 0, start.labels, -1)
        try:
            found.append(measure_attraction(images_NHWC, points_ND, labels, settings, seed, deadline))
        except TimeoutError:
            found.append(None)
        return found[0] is not None and found[0] >= discover.min_attraction

    cross = cross_predict(
        images_NHWC,
        start.labels,
        start.probability,
        settings,
        seed,
        deadline,
        discover.min_recognition,
        opening,
        attracts,
    )
    if cross and cross.rounds > 0 and not found and cross.recognition >= discover.min_recognition:
        attracts()
    return cross, found[0] if found else None


def _take(
    one: Candidate, cross: CrossPrediction, attraction: float | None, split: Split, manifest: Manifest, config: Config
) -> None:
    """Add the scores of cross-prediction to a candidate, and its labels if the judge prefers them."""
    if cross.kept:
        before = one.clusters
        one.clusters = Clusters(cross.labels, cross.probability, before.backend, before.seconds, before.cost)
        one.scores["separation"] = None  # it belongs to the old labels, and is computed again if it is missing
        score_clusters(one, split, manifest, config)
    independence = compute_independence(one.clusters.class_labels, split.labels.cpu().numpy())
    scores = (cross.agreement, cross.reproducibility, cross.undecided)
    values = (*scores, cross.recognition, cross.recognition * independence, attraction)
    one.scores |= dict(zip(CROSS_SCORES, values, strict=True))
    one.fault = find_fault(one, config.discover)
    if one.fault is None and attraction is None and config.discover.min_attraction > 0:
        one.fault = Fault("not_recognised", UNJUDGED)
    if one.fault:  # networks are kept only as long as the candidate may be chosen
        one.cross = replace(cross, recogniser=None)
