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
PRESENT = 0.1  # least images of a combination of two values, as a share of what independent factors would have
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
    return drop_small(part_P, smallest)


def drop_small(values_P: np.ndarray, smallest: int) -> np.ndarray:
    """Return the values [P] numbered anew, with -1 for those of fewer than `smallest` images."""
    is_known = values_P >= 0
    is_large = np.bincount(values_P[is_known], minlength=1) >= smallest
    return renumber(np.where(is_known & is_large[values_P], values_P, -1))


def measure_crossing(values_P: np.ndarray, edges_n2: np.ndarray) -> float:
    """Return the share of edges [n, 2] that join images of different values [P], among those whose ends both have one.

    If the values are those of a factor, all edges that change this factor do. If there is no such edge, the share is 0.
    """
    first, second = values_P[edges_n2].T
    is_known = (first >= 0) & (second >= 0)
    return float((first != second)[is_known].mean()) if is_known.any() else 0.0


def combine_values(first_P: np.ndarray, second_P: np.ndarray) -> np.ndarray | None:
    """Return the values [P] of the factor of which both are parts, or None if they are two factors or share no image.

    If only some changes of a factor were found together, its values are divided there and joined elsewhere. Two such
    divisions of one factor have at most a + b - 1 combinations, as a chain of values that is cut at different places.
    Independent factors have all a x b. A combination counts if it has the share PRESENT of the images that it would then
    have.
    """
    is_known = (first_P >= 0) & (second_P >= 0)
    if not is_known.any():  # no combination says whether they are one
        return None
    sizes = first_P.max() + 1, second_P.max() + 1
    counts = np.bincount(first_P[is_known] * sizes[1] + second_P[is_known], minlength=sizes[0] * sizes[1]).reshape(
        sizes
    )
    expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    is_present = counts > PRESENT * expected
    if is_present.sum() > sizes[0] + sizes[1] - 1:
        return None
    is_known[is_known] = is_present[first_P[is_known], second_P[is_known]]
    return renumber(np.where(is_known, first_P * sizes[1] + second_P, -1))
