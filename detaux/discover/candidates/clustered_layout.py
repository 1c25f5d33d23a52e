"""Cluster a neighbour layout in two ways, whatever its points describe. The kinds `layout` and `features` use it."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from detaux.config import Config
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.cluster import Clusters, cluster_points
from detaux.discover.layout import LEAST_POINTS, MOST_POINTS, cluster_by_plscan, lay_out

Cluster = Callable[[Tensor, int], Clusters]  # (points, seed)


def propose_from_layout(points_NF: Tensor, name: str, config: Config, most: int = MOST_POINTS) -> list[Candidate]:
    """Lay out points [N, F] and make two candidates: by the clusterer of the config, and by PLSCAN.

    Their names begin with `name` and end with the clusterer. If there are more than `most` points, a sample is laid
    out and clustered, and every other point takes the cluster of the nearest point of the sample. Fewer than
    LEAST_POINTS points make no candidate.
    """
    if len(points_NF) < LEAST_POINTS:
        return []
    layout_ML, place_N = lay_out(points_NF, config.run.seed, most)
    ways: dict[str, Cluster] = {
        config.discover.clusterer: lambda points_ND, seed: cluster_points(points_ND, config.discover, seed),
        "plscan": lambda points_ND, _: cluster_by_plscan(points_ND, config.discover),
    }
    points_NL = layout_ML[torch.from_numpy(place_N).to(layout_ML.device)]
    found = []
    for way, cluster in ways.items():
        part = cluster(layout_ML, config.run.seed)
        clusters = replace(part, labels=part.labels[place_N], probability=part.probability[place_N])
        found.append(Candidate(points_NL, clusters, name=f"{name}_{way}"))
    return found
