"""Measure how much denser clusters are inside than between: the validity index DBCV of Moulavi et al. (2014).

N points, D size of a point, M points of a subsample, I inner nodes of the spanning trees of clusters.
"""

import numpy as np
import torch
from torch import Tensor

from detaux.discover.cluster import Clusters
from detaux.discover.clusterers.distances import measure
from detaux.discover.separation import MOST_POINTS

TIE = 1e-9  # weight of the distance, which decides between edges of equal mutual reachability


def compute_validity(points_ND: Tensor, clusters: Clusters, seed: int) -> float:
    """Compute the density-based validity index of at most MOST_POINTS points, in [-1, 1].

    It is the mean over points of their cluster's (separation - sparseness) / the larger of both. All distances are
    mutual reachabilities. Sparseness is the longest edge between inner nodes of the cluster's minimum spanning tree.
    Separation is the shortest distance from these nodes to those of another cluster. Outliers count 0, and so does a
    cluster with fewer than two drawn points. If less than two clusters are left, the index is 0.
    """
    chosen = np.random.default_rng(seed).permutation(len(clusters.labels))[:MOST_POINTS]
    labels = clusters.labels[chosen]
    sample_MD = points_ND[torch.from_numpy(chosen)].double()
    numbers = [
        int(one) for one, size in zip(*np.unique(labels[labels >= 0], return_counts=True), strict=True) if size > 1
    ]
    if len(numbers) < 2:
        return 0.0
    sizes, sparseness, inner, cores = [], [], [], []
    for number in numbers:
        own_MD = sample_MD[torch.from_numpy(np.flatnonzero(labels == number))]
        core_M = compute_all_points_core(own_MD)
        is_inner, longest = _span(own_MD, core_M)
        sizes.append(len(own_MD))
        sparseness.append(longest)
        inner.append(own_MD[is_inner])
        cores.append(core_M[is_inner])
    separation = _separate(inner, cores)
    values = [
        (apart - within) / (max(apart, within) or 1) for apart, within in zip(separation, sparseness, strict=True)
    ]
    return float(np.dot(sizes, values) / len(labels))


def compute_all_points_core(own_MD: Tensor) -> Tensor:
    """Compute (mean of distance^-D to the other points of the cluster)^(-1/D), [M]: small for near neighbours."""
    count, size = own_MD.shape
    distance_MM = measure(own_MD, own_MD).fill_diagonal_(torch.inf)
    # in logarithms, because distance^-D leaves the range of a float
    mean_M = (-size * distance_MM.log()).logsumexp(1) - np.log(count - 1)
    return (-mean_M / size).exp()


def _span(own_MD: Tensor, core_M: Tensor) -> tuple[Tensor, float]:
    """Return which points are inner nodes of the minimum spanning tree, bool [M], and the longest edge between these.

    If the tree is a pair or a star, it has no inner edge, and all points and edges count as inner.
    """
    distance_MM = measure(own_MD, own_MD)
    reach_MM = distance_MM.maximum(core_M).maximum(core_M[:, None])
    # many edges have one core distance as their weight: the shorter edge wins, or several trees would be possible
    edges = _grow_tree(reach_MM + TIE * distance_MM)
    weights_E = reach_MM[edges[0], edges[1]]
    is_inner = torch.bincount(edges.flatten(), minlength=len(own_MD)) > 1
    is_inner_edge = is_inner[edges].all(0)
    if not bool(is_inner_edge.any()):
        return torch.ones_like(is_inner), float(weights_E.max())
    return is_inner, float(weights_E[is_inner_edge].max())


def _grow_tree(weight_MM: Tensor) -> Tensor:
    """Find the minimum spanning tree by Prim's algorithm. Return its edges int64 [2, M - 1]; overwrite the weights."""
    node = torch.zeros(1, dtype=torch.int64, device=weight_MM.device)
    lightest_M, end_M = torch.full_like(weight_MM[0], torch.inf), node.repeat(len(weight_MM))
    edges = []
    for _ in range(len(weight_MM) - 1):
        weight_MM.index_fill_(1, node, torch.inf)  # a point in the tree is not reached again
        lightest_M.index_fill_(0, node, torch.inf)
        weight_M = weight_MM.index_select(0, node)[0]
        end_M = node.where(weight_M < lightest_M, end_M)
        lightest_M = weight_M.minimum(lightest_M)
        node = lightest_M.argmin().view(1)
        edges.append(torch.stack([node, end_M[node]]))
    return torch.cat(edges, 1)


def _separate(inner: list[Tensor], cores: list[Tensor]) -> list[float]:
    """Compute the shortest mutual reachability from each cluster's inner nodes to those of another cluster."""
    points_ID, core_I = torch.cat(inner), torch.cat(cores)
    shortest = []
    for number, (own_JD, own_core_J) in enumerate(zip(inner, cores, strict=True)):
        reach_JI = measure(own_JD, points_ID).maximum(core_I).maximum(own_core_J[:, None])
        begin = sum(map(len, inner[:number]))
        reach_JI[:, begin : begin + len(own_JD)] = torch.inf
        shortest.append(float(reach_JI.min()))
    return shortest
