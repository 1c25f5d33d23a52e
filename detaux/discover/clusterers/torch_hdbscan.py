"""HDBSCAN in torch: exact, the same for any order of the points, with memory for the points and not for their pairs."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.clusterers import Assignment, choose_sizes
from detaux.discover.clusterers.blocks import sort_into_blocks
from detaux.discover.clusterers.distances import measure_in_tiles
from detaux.discover.clusterers.hierarchy import SELECTIONS, assign_points, condense, predict_points
from detaux.discover.clusterers.spanning_tree import compute_core_distances, span_mutual_reachability


def cluster_torch_hdbscan(points_ND: Tensor, config: DiscoverConfig, seed: int) -> Assignment:
    """Clusters by choose_sizes; `seed` is unused, nothing is drawn.

    Merges at one distance are taken together, so that the order of the points changes nothing. The library behind
    cluster_hdbscan takes them one by one, from a tree that is approximate by default: there, with another order, some
    points go to other clusters (benchmarks/LOG.md).
    """
    smallest, neighbours = choose_sizes(len(points_ND), config)
    exponent = int(torch.frexp(points_ND.abs().max()).exponent)
    with _one_thread():
        blocks = sort_into_blocks(_shrink(points_ND, exponent))
        core_N = compute_core_distances(blocks, neighbours)
        tree = condense(*span_mutual_reachability(blocks, core_N), smallest)
    known_ND, order = blocks.points_ND, blocks.order
    is_selected = SELECTIONS[config.selection](tree)
    labels, probability = assign_points(tree, is_selected)

    def predict(new_MD: Tensor) -> tuple[np.ndarray, np.ndarray]:
        with _one_thread():
            place_M, reach_M = find_reachable(_shrink(new_MD, exponent), known_ND, core_N, neighbours)
        nearest_M = order[place_M].cpu().numpy()
        return predict_points(tree, is_selected, labels, probability, nearest_M, reach_M.cpu().numpy())

    return Assignment(labels, probability, f"torch HDBSCAN, {points_ND.device.type}", predict)


def _shrink(points_ND: Tensor, exponent: int) -> Tensor:
    """The points over a power of two, which rounds nothing: known points to at most 1, so that no square leaves the range of
    float32."""
    half = -exponent // 2  # the power itself may be out of range
    return points_ND * 2.0**half * 2.0 ** (-exponent - half)


def find_reachable(new_MD: Tensor, known_ND: Tensor, core_N: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """The nearest known point of each new one in mutual reachability, int64 [M], and how far away it is, [M].

    Of several at one reachability the nearest. A new point that coincides with a known one is that point, at reachability 0.
    """
    places, reaches = [], []
    for distances in measure_in_tiles(new_MD, known_ND):
        core_M1 = distances.kthvalue(min(neighbours, len(known_ND)), dim=1, keepdim=True).values
        reach = distances.maximum(core_N).maximum(core_M1)
        reach = reach.where(distances > 0, 0)
        least_M1 = reach.amin(1, keepdim=True)
        places.append(distances.masked_fill(reach > least_M1, torch.inf).argmin(1))
        reaches.append(least_M1[:, 0])
    return torch.cat(places), torch.cat(reaches)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Many small steps: threads that wait for each other at each took 35 times as long on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
