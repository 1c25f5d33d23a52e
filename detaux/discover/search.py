"""Search for auxiliary tasks: cluster the embeddings by disentanglers, score and mend the candidates, and choose.

The discover stage and the objective of a sweep both use this search.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detaux.config import Config
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.candidates.embedded_split import EmbeddedSplit
from detaux.discover.candidates.registry import propose_baselines, propose_from_images, propose_from_model
from detaux.discover.choose import find_fault, group_passing
from detaux.discover.refine import refine_candidates
from detaux.discover.scores import score_agreement, score_candidates, score_clusters
from detaux.discover.shape import find_shapes
from detaux.disentangle.embed import Embeddings, embed_split
from detaux.disentangle.model import Disentangler
from detaux.runtime.progress import track

MOST_PASSING = 6  # candidates that pass and are described, or discover.tasks if these are more


@dataclass(frozen=True)
class Findings:
    """Hold scored candidates and baselines.

    `pool` holds those among which the rule chooses. `passing` are the positions in `pool` of those that may be chosen,
    best first, each with the positions of those that repeat it. `tasks` are the chosen ones, the first of these.
    """

    candidates: list[Candidate]
    baselines: list[Candidate]
    pool: list[Candidate]
    passing: dict[int, list[int]]
    tasks: list[int]

    @property
    def chosen(self) -> Candidate | None:
        """Return the best candidate, or None if none may be chosen."""
        return self.pool[self.tasks[0]] if self.tasks else None


def embed_images(model: Disentangler, split: Split, config: Config) -> Embeddings:
    """Embed the images of a split in the form that the model saw in training. Every rank takes part."""
    return embed_split(
        model, split.images, split.images.device, config.data.noise, config.run.seed, denoise=config.data.denoise
    )


def search(
    restarts: Sequence[EmbeddedSplit],
    pairs: tuple[np.ndarray, np.ndarray],
    split: Split,
    manifest: Manifest,
    config: Config,
    *,
    with_baselines: bool = True,
    with_shapes: bool = True,
) -> Findings:
    """Find candidates in the embeddings of each restart and in the images, score them and choose among them.

    Some scores need `pairs`. The plain baselines come from the first restart. Without shapes no candidate counts as a
    line or ring.
    """
    candidates = []
    for embedded in restarts:
        found = propose_from_model(embedded, config)
        score_candidates(found, embedded.embeddings, pairs, split, config, embedded.alpha)
        candidates += found
    score_agreement(candidates)
    candidates += propose_from_images(split, manifest, config)
    baselines = propose_baselines(restarts[0], config) if with_baselines else []
    every = candidates + baselines
    if with_shapes:
        for one, shape in zip(every, find_shapes([one.points_ND for one in every], config.run.seed), strict=True):
            one.shape = shape
    with track("discover: score", len(every)) as advance:
        for one in every:
            score_clusters(one, split, manifest, config)
            one.fault = find_fault(one, config.discover)
            advance(note=f"{one.title}: {one.clusters.count} clusters")
    pool = candidates + baselines if config.discover.include_baselines else candidates
    if refine_candidates(pool, split, manifest, config):
        score_agreement(candidates)
    most, rule = config.discover.tasks, config.discover.choose
    passing = group_passing(pool, split.labels.cpu().numpy(), rule, max(MOST_PASSING, most))
    return Findings(candidates, baselines, pool, passing, list(passing)[:most])
