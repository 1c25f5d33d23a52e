"""Find the values of a factor: the parts of the graph that hang together by edges that do not change it.

P images, F numbers that describe an image, E edges, r directions.
"""

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from detaux.discover.cluster import renumber

EXPLAINED = 0.9  # share of the squared steps of a factor in its directions
UNCHANGED = 0.1  # an edge with a smaller square in these directions, as a share of the factor's steps, keeps the value


def find_directions(steps_nF: Tensor) -> Tensor:
    """Return the fewest orthonormal directions [F, r] that hold the share EXPLAINED of a factor's steps [n, F]."""
    values, vectors_FF = torch.linalg.eigh((steps_nF.T @ steps_nF).double())
    held = values.flip(0).clamp(min=0).cumsum(0)
    count = int((held < EXPLAINED * held[-1]).sum()) + 1
    return vectors_FF.flip(1)[:, :count].to(steps_nF)


def find_kept(steps_EF: Tensor, is_own_E: np.ndarray, directions_Fr: Tensor) -> np.ndarray:
    """Return which edges do not change the factor, bool [E]: they hardly move in the directions of its own edges.

    Edges that change several other factors at once count too. In a sparse set they are most of what holds a value
    together.
    """
    own = torch.from_numpy(is_own_E).to(steps_EF.device)
    usual = steps_EF[own].square().sum(1).median()
    is_still_E = (steps_EF @ directions_Fr).square().sum(1) < UNCHANGED * usual
    return (is_still_E & ~own).cpu().numpy()


def find_values(edges_E2: np.ndarray, is_kept_E: np.ndarray, count: int, smallest: int) -> np.ndarray:
    """Number the connected parts of `count` images by the kept edges, int64 [P]; -1 in parts below `smallest`."""
    ends = edges_E2[is_kept_E].T
    graph = coo_matrix((np.ones(ends.shape[1], bool), (ends[0], ends[1])), shape=(count, count))
    part_P = connected_components(graph, directed=False)[1]
    is_large = np.bincount(part_P, minlength=1) >= smallest
    return renumber(np.where(is_large[part_P], part_P, -1))
