"""Run HDBSCAN in torch: exactly, independent of the order of the points, and without memory for all pairs."""

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
    """Cluster by the sizes of choose_sizes. `seed` is unused, because nothing is drawn.

    Merges at one distance are taken together, so that the order of the points changes nothing. The library behind
    cluster_hdbscan takes them one by one, from a tree that is approximate by default. With another order it moves some
    points to other clusters (benchmarks/LOG.md).
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
    """Divide the points by 2^exponent, which rounds nothing.

    Known points become at most 1, so that no square leaves the range of float32.
    """
    half = -exponent // 2  # the power itself may be out of range
    return points_ND * 2.0**half * 2.0 ** (-exponent - half)


def find_reachable(new_MD: Tensor, known_ND: Tensor, core_N: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """Return the nearest known point of each new point in mutual reachability, int64 [M], and this reachability, [M].

    If several points have the same reachability, the one at the smallest distance is taken. A new point that coincides
    with a known one has reachability 0.
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
    """Use one thread, because there are many small steps: several threads took 35 times as long on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
