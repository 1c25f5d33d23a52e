"""Find the squares of a graph: two changes of an image, made in either order, lead to one image.

P images, E edges, S corners of squares.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

PATHS = 2**20  # paths of two edges held at once
MOST_BETWEEN = 8  # images between two ends; more belong to no grid


@dataclass(frozen=True)
class Corners:
    """Hold the corners of squares: an image a, its neighbours b and c, and the image d that both lead to.

    a and d are no neighbours, nor are b and c. The edges are int64 [S]; those of a pair lie opposite each other.

    near, far    edges a-b and c-d
    left, right  edges a-c and b-d
    is_only      whether no other image could be d, bool [S]
    """

    near: np.ndarray
    far: np.ndarray
    left: np.ndarray
    right: np.ndarray
    is_only: np.ndarray


def index_edges(edges_E2: np.ndarray, count: int) -> csr_matrix:
    """Return the graph of `count` images as a matrix [P, P] whose entries are 1 + the number of the edge."""
    numbers = np.arange(1, len(edges_E2) + 1)
    both = np.concatenate([edges_E2, edges_E2[:, ::-1]])
    return csr_matrix((np.tile(numbers, 2), both.T), shape=(count, count))


def find_corners(edges_E2: np.ndarray, count: int) -> Corners:
    """Return all corners of squares of the graph with edges [E, 2] between `count` images."""
    graph = index_edges(edges_E2, count)
    degrees = np.diff(graph.indptr)
    lengths = np.add.reduceat(np.append(degrees[graph.indices], 0), graph.indptr[:-1]) * (degrees > 0)
    tile_P = np.cumsum(lengths) // PATHS
    parts = [_find_in_tile(graph, np.flatnonzero(tile_P == tile)) for tile in np.unique(tile_P)]
    return Corners(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _find_in_tile(graph: csr_matrix, rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the columns of Corners for the squares whose b is in `rows` and is smaller than c."""
    place, middle = _expand(graph, rows)
    path, c = _expand(graph, middle)
    b, a = rows[place[path]], middle[path]
    keep = (b < c) & (_look_up(graph, b, c) == 0)
    b, a, c = b[keep], a[keep], c[keep]
    order = np.lexsort((c, b))
    b, a, c = b[order], a[order], c[order]
    one, other = _pair_within(b * graph.shape[0] + c)
    keep = _look_up(graph, a[one], a[other]) == 0
    one, other = one[keep], other[keep]
    a, b, c, d = a[one], b[one], c[one], a[other]
    is_only = np.bincount(one, minlength=1)[one] == 1
    edges = (_look_up(graph, *ends) - 1 for ends in ((a, b), (c, d), (a, c), (b, d)))
    return (*edges, is_only)


def _pair_within(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of all ordered pairs of two elements with one name, for sorted names [n].

    Names that more than MOST_BETWEEN elements have are left out.
    """
    starts, sizes = np.unique(names, return_index=True, return_counts=True)[1:]
    starts, sizes = starts[sizes <= MOST_BETWEEN], sizes[sizes <= MOST_BETWEEN]
    group = np.repeat(np.arange(len(sizes)), sizes**2)
    number = np.arange(len(group)) - np.repeat(np.cumsum(sizes**2) - sizes**2, sizes**2)
    one, other = starts[group] + number // sizes[group], starts[group] + number % sizes[group]
    return one[one != other], other[one != other]


def _expand(graph: csr_matrix, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the place in `rows` and the neighbour of each edge that starts at one of `rows`."""
    sizes = graph.indptr[rows + 1] - graph.indptr[rows]
    place = np.repeat(np.arange(len(rows)), sizes)
    offset = np.arange(len(place)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return place, graph.indices[graph.indptr[rows][place] + offset].astype(np.int64)


def _look_up(graph: csr_matrix, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return 1 + the number of the edge between two images, 0 if there is none, for arrays of images."""
    return np.asarray(graph[first, second]).reshape(-1) if len(first) else np.empty(0, np.int64)
