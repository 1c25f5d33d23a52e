"""HDBSCAN in torch: exact, the same for any order of the points, with memory for the points and not for their pairs."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment, choose_sizes
from detaux.discover.clusterers.hierarchy import SELECTIONS, assign_points, condense
from detaux.discover.clusterers.spanning_tree import compute_core_distances, sort_into_blocks, span_mutual_reachability


def cluster_torch_hdbscan(points_ND: np.ndarray, config: DiscoverConfig, seed: int) -> Assignment:
    """Clusters by choose_sizes; `seed` is unused, nothing is drawn. Points that are not finite are noise.

    Merges at one distance are taken together, so that the order of the points changes nothing. The library behind
    cluster_hdbscan takes them one by one, from a tree that is approximate by default: there, with another order, some
    points go to other clusters (benchmarks/LOG.md).
    """
    smallest, neighbours = choose_sizes(len(points_ND), config)
    labels, probability = np.full(len(points_ND), -1), np.zeros(len(points_ND))
    is_finite = np.isfinite(points_ND).all(1)
    if is_finite.sum() > 1:
        with _one_thread():
            labels[is_finite], probability[is_finite] = _cluster(
                points_ND[is_finite], smallest, neighbours, config.selection
            )
    return Assignment(labels, probability, "torch HDBSCAN, cpu")


def _cluster(points_ND: np.ndarray, smallest: int, neighbours: int, selection: str) -> tuple[np.ndarray, np.ndarray]:
    # to a power of two, which rounds nothing, so that no square leaves the range of float32
    exponent = int(np.frexp(np.abs(points_ND).max())[1])
    blocks = sort_into_blocks(torch.from_numpy(np.ldexp(points_ND, -exponent)))
    core_N = compute_core_distances(blocks, neighbours)
    tree = condense(*span_mutual_reachability(blocks, core_N), smallest)
    return assign_points(tree, SELECTIONS[selection](tree))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Many small steps: threads that wait for each other at each took 35 times as long on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
