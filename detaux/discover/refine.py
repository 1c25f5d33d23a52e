"""Mend and judge candidates by cross-prediction before the choice (`discover.cross_prediction`)."""

import math
import time
from collections.abc import Sequence

from detaux.config import Config
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate, Fault
from detaux.discover.choose import find_fault, rank_candidates
from detaux.discover.cluster import Clusters
from detaux.discover.cross_prediction.rounds import CrossPrediction, cross_predict
from detaux.discover.scores import score_clusters
from detaux.out_of_fold.network import shrink_images
from detaux.runtime.progress import say, track

CROSS_SCORES = ("cross_agreement", "cross_reproducibility", "cross_undecided", "recognition")

UNJUDGED = "not judged: discover.cross_prediction.max_seconds had passed, or fewer than two clusters have enough images"


def refine_candidates(pool: Sequence[Candidate], split: Split, manifest: Manifest, config: Config) -> bool:
    """Cross-predict the candidates that have no fault, in the order of the choice rule; return whether any changed.

    Their scores get `cross_agreement`, `cross_reproducibility`, `cross_undecided` and `recognition`, which are None for
    candidates that were not cross-predicted. If the judge prefers the mended labels, these become the candidate's
    clusters, without outliers, and are scored and examined for faults again. `discover.cross_prediction.rounds=0` does nothing.
    """
    settings = config.discover.cross_prediction
    if settings.rounds == 0:
        return False
    deadline = time.monotonic() + (settings.max_seconds or math.inf)
    images_NHWC = shrink_images(split.images, config.data.noise, config.data.denoise, config.run.seed)
    ranking = rank_candidates(pool, config.discover.choose)
    for one in pool:
        one.scores |= dict.fromkeys(CROSS_SCORES)
    with track("discover: cross-predict", len(ranking)) as advance:
        for place in ranking:
            one = pool[place]
            clusters = one.clusters
            one.cross = cross_predict(
                images_NHWC, clusters.labels, clusters.probability, settings, config.run.seed, deadline
            )
            if one.cross:
                _take(one, one.cross, split, manifest, config)
            advance(note=f"{one.title}: {one.clusters.count} clusters")
    for one in (pool[place] for place in ranking):
        if one.cross is None and config.discover.min_recognition > 0:
            one.fault = Fault("not_recognised", UNJUDGED)
    if time.monotonic() > deadline:
        done = sum(one.cross is not None for one in pool)
        say(
            f"discover: cross-prediction ended after discover.cross_prediction.max_seconds={settings.max_seconds:g}: "
            f"{done} of {len(ranking)} candidates were judged."
        )
    return any(one.cross is not None and one.cross.kept > 0 for one in pool)


def _take(one: Candidate, cross: CrossPrediction, split: Split, manifest: Manifest, config: Config) -> None:
    """Add the scores of cross-prediction to a candidate, and its labels if the judge prefers them."""
    recognition = cross.agreement * max(0.0, cross.reproducibility) * (1 - cross.undecided)
    values = (cross.agreement, cross.reproducibility, cross.undecided, recognition)
    one.scores |= dict(zip(CROSS_SCORES, values, strict=True))
    if cross.kept:
        before = one.clusters
        one.clusters = Clusters(cross.labels, cross.probability, before.backend, before.seconds, before.cost)
        one.scores["separation"] = None  # it belongs to the old labels, and is computed again if it is missing
        score_clusters(one, split, manifest, config)
    one.fault = find_fault(one, config.discover)
