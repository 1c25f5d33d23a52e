"""Candidates: clusterings that may become the auxiliary task, each with what is known of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from detaux.config import Config
from detaux.discover.cluster import Clusters, cluster_points
from detaux.discover.embed import Embeddings
from detaux.discover.merge import compute_dependence, merge_greedily
from detaux.discover.separation import compute_separation, compute_silhouette
from detaux.discover.validity import compute_validity
from detaux.runtime.progress import track

Scores = dict[str, float | None]
Recluster = Callable[[np.ndarray, int], Clusters]  # (rows, seed) -> clusters of these rows alone


class Fault(NamedTuple):
    """What forbids to choose a candidate: a code, by which faults are counted, and a text with the numbers."""

    code: str
    text: str


@dataclass
class Candidate:
    """points float32 [N, D] on their device, and their clusters; `subspaces` is empty where the points are no subspace's.

    `restart` counts the disentangler that the subspaces are of. `recluster` clusters some rows in the same way, None for
    plainly by the config; `scores` hold None where a score does
    not apply; `fault` says what forbids the choice, None where nothing does.
    """

    points_ND: Tensor
    clusters: Clusters
    subspaces: tuple[int, ...] = ()
    name: str = ""
    restart: int = 0
    recluster: Recluster | None = None
    scores: Scores = field(default_factory=dict)
    principal: Scores = field(default_factory=dict)
    factors: dict[str, Scores] = field(default_factory=dict)
    fault: Fault | None = None

    @property
    def title(self) -> str:
        """How messages call it."""
        if not self.subspaces:
            return self.name.replace("_", " ")
        of = f" of restart {self.restart + 1}" if self.restart else ""
        return f"subspace{'s' if len(self.subspaces) > 1 else ''} {' + '.join(map(str, self.subspaces))}{of}"

    def to_row(self, index: int | None) -> dict[str, Any]:
        """The form of discovery.json."""
        name = {"name": self.name} if self.name else {}
        return {
            "index": index,
            **name,
            "subspaces": list(self.subspaces),
            "restart": self.restart,
            "clusters": self.clusters.count,
            "noise_share": round(self.clusters.noise_share, 6),
            "cost": self.clusters.cost and self.clusters.cost.to_row(),
            "eligible": self.fault is None,
            "fault": self.fault and self.fault._asdict(),
            "scores": _round(self.scores),
            "principal": self.principal,
            "factors": {factor: _round(measures) for factor, measures in self.factors.items()},
        }


def _round(scores: Scores) -> Scores:
    return {name: None if value is None else round(value, 6) for name, value in scores.items()}


def score_separation(one: Candidate, seed: int) -> float:
    """The candidate's separation; it is scored with the silhouette and the validity it is made of, unless it was before."""
    separation = one.scores.get("separation")
    if separation is None:
        silhouette = compute_silhouette(one.points_ND, one.clusters, seed)
        validity = compute_validity(one.points_ND, one.clusters, seed)
        separation = compute_separation(silhouette, validity, one.clusters)
        one.scores |= {"silhouette": silhouette, "validity": validity, "separation": separation}
    return separation


def cluster_subspaces(embeddings: Embeddings, indices: Sequence[int], config: Config) -> list[Candidate]:
    """Each of the subspaces [N, D] clustered alone."""
    found = []
    with track("discover: cluster", len(indices)) as advance:
        for index in indices:
            points_ND = embeddings.subspaces_NKD[:, index].contiguous()
            found.append(Candidate(points_ND, cluster_points(points_ND, config.discover, config.run.seed), (index,)))
            advance()
    return found


def build_candidates(embeddings: Embeddings, free: Sequence[int], config: Config) -> list[Candidate]:
    """The free subspaces, dependent ones joined and clustered again; or the autoencoder's latents (`discover.source`)."""
    discover, seed = config.discover, config.run.seed
    if discover.source == "encoder":
        latents_ND = embeddings.latents_ND
        return [Candidate(latents_ND, cluster_points(latents_ND, discover, seed), name="encoder")]
    alone = cluster_subspaces(embeddings, free, config)
    if not discover.merge:
        return alone

    def join(first: Candidate, second: Candidate) -> Candidate:
        points_ND = torch.cat([first.points_ND, second.points_ND], 1)
        subspaces = tuple(sorted((*first.subspaces, *second.subspaces)))
        return Candidate(points_ND, cluster_points(points_ND, discover, seed), subspaces)

    def depend(first: Candidate, second: Candidate) -> float:
        return compute_dependence(first.clusters.labels, second.clusters.labels)

    def separate(one: Candidate) -> float:
        return score_separation(one, seed)

    return merge_greedily(alone, depend, join, separate, discover.merge_threshold)
