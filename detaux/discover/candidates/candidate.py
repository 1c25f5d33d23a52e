"""A candidate: a clustering that may become an auxiliary task, with what is known of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from detaux.discover.cluster import Clusters
from detaux.discover.separation import compute_separation, compute_silhouette
from detaux.discover.validity import compute_validity

Scores = dict[str, float | None]
Recluster = Callable[[np.ndarray, int], Clusters]  # (rows, seed) -> clusters of these rows alone


@dataclass
class Candidate:
    """Hold points float32 [N, D] on their device, their clusters, and what is known of these.

    `subspaces` is empty if the points are no subspace's; `restart` counts the disentangler that the subspaces are of.
    `recluster` clusters some rows in the same way; None clusters them plainly by the config. A score that does not apply is
    None. `why_not` says what forbids the choice, None if nothing does.
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
    why_not: str | None = None

    @property
    def title(self) -> str:
        """Return what messages call it."""
        if not self.subspaces:
            return self.name.replace("_", " ")
        of = f" of restart {self.restart + 1}" if self.restart else ""
        return f"subspace{'s' if len(self.subspaces) > 1 else ''} {' + '.join(map(str, self.subspaces))}{of}"

    def to_row(self, index: int | None) -> dict[str, Any]:
        """Return its row of discovery.json."""
        name = {"name": self.name} if self.name else {}
        return {
            "index": index,
            **name,
            "subspaces": list(self.subspaces),
            "restart": self.restart,
            "clusters": self.clusters.count,
            "noise_share": round(self.clusters.noise_share, 6),
            "cost": self.clusters.cost and self.clusters.cost.to_row(),
            "eligible": self.why_not is None,
            "why_not": self.why_not,
            "scores": _round(self.scores),
            "principal": self.principal,
            "factors": {factor: _round(measures) for factor, measures in self.factors.items()},
        }


def _round(scores: Scores) -> Scores:
    return {name: None if value is None else round(value, 6) for name, value in scores.items()}


def score_separation(one: Candidate, seed: int) -> float:
    """Return the candidate's separation, and score it and the silhouette and validity that it is made of if nobody did before."""
    separation = one.scores.get("separation")
    if separation is None:
        silhouette = compute_silhouette(one.points_ND, one.clusters, seed)
        validity = compute_validity(one.points_ND, one.clusters, seed)
        separation = compute_separation(silhouette, validity, one.clusters)
        one.scores |= {"silhouette": silhouette, "validity": validity, "separation": separation}
    return separation
