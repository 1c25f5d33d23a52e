"""Describe a candidate: a clustering that may become an auxiliary task, and what is known about it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from detaux.config import Config
from detaux.discover.cluster import Clusters, cluster_points
from detaux.discover.cross_prediction.rounds import CrossPrediction
from detaux.discover.separation import compute_separation, compute_silhouette
from detaux.discover.validity import compute_validity

Scores = dict[str, float | None]
Recluster = Callable[[np.ndarray, int], Clusters]  # (rows, seed) -> clusters of only these rows


class Fault(NamedTuple):
    """Say why a candidate may not be chosen: a code, by which faults are counted, and a text with the numbers."""

    code: str
    text: str


@dataclass
class Candidate:
    """Hold points float32 [N, D] on their device, their clusters, and what is known about these.

    `subspaces` is empty if the points come from no subspace. `source` is the kind, one of `discover.sources`, and empty
    for a baseline. `restart` is the number of the disentangler, counted from 0, or None if there is none. `recluster`
    clusters some rows in the same way; it is None if that has no meaning. A score that does not apply is None. `fault`
    says why the candidate may not be chosen, and is None if it may. `cross` is what cross-prediction made of the
    clusters; it is None if it did not run.
    """

    points_ND: Tensor
    clusters: Clusters
    subspaces: tuple[int, ...] = ()
    name: str = ""
    source: str = ""
    restart: int | None = 0
    recluster: Recluster | None = None
    scores: Scores = field(default_factory=dict)
    principal: Scores = field(default_factory=dict)
    factors: dict[str, Scores] = field(default_factory=dict)
    fault: Fault | None = None
    cross: CrossPrediction | None = None

    @property
    def title(self) -> str:
        """Return the name for messages."""
        if not self.subspaces:
            return self.name.replace("_", " ")
        of = f" of restart {self.restart + 1}" if self.restart else ""
        kind = f"{self.name.replace('_', ' ')} of " if self.name else ""
        return f"{kind}subspace{'s' if len(self.subspaces) > 1 else ''} {' + '.join(map(str, self.subspaces))}{of}"

    def to_row(self, index: int | None) -> dict[str, Any]:
        """Return the entry in discovery.json."""
        name = {"name": self.name} if self.name else {}
        cross = {"cross_prediction": self.cross.to_row()} if self.cross else {}
        return {
            "index": index,
            **({"source": self.source} if self.source else {}),
            **name,
            "subspaces": list(self.subspaces),
            "restart": self.restart,
            "clusters": self.clusters.count,
            "noise_share": round(self.clusters.outlier_fraction, 6),
            "cost": self.clusters.cost and self.clusters.cost.to_row(),
            **cross,
            "eligible": self.fault is None,
            "fault": self.fault and self.fault._asdict(),
            "scores": _round(self.scores),
            "principal": self.principal,
            "factors": {factor: _round(measures) for factor, measures in self.factors.items()},
        }


def cluster_candidate(
    points_ND: Tensor, config: Config, *, subspaces: tuple[int, ...] = (), name: str = ""
) -> Candidate:
    """Cluster points [N, D] by the clusterer of the config."""

    def recluster(rows: np.ndarray, seed: int) -> Clusters:
        return cluster_points(points_ND[torch.from_numpy(rows)], config.discover, seed)

    clusters = cluster_points(points_ND, config.discover, config.run.seed)
    return Candidate(points_ND, clusters, subspaces, name, recluster=recluster)


def _round(scores: Scores) -> Scores:
    return {name: None if value is None else round(value, 6) for name, value in scores.items()}


def score_separation(one: Candidate, seed: int) -> float:
    """Return the candidate's separation. If it is missing, compute it and its parts, silhouette and validity, first."""
    separation = one.scores.get("separation")
    if separation is None:
        silhouette = compute_silhouette(one.points_ND, one.clusters, seed)
        validity = compute_validity(one.points_ND, one.clusters, seed)
        separation = compute_separation(silhouette, validity, one.clusters)
        one.scores |= {"silhouette": silhouette, "validity": validity, "separation": separation}
    return separation
