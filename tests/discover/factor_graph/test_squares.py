import numpy as np
import pytest

from detaux.discover.factor_graph import squares
from detaux.discover.factor_graph.squares import find_corners


def list_corners(edges: np.ndarray, count: int) -> set[tuple[int, int, int, int, bool]]:
    """Find the corners by loops: (near, far, left, right, is_only)."""
    number = {tuple(ends): place for place, ends in enumerate(edges.tolist())}
    number |= {(b, a): place for (a, b), place in number.items()}
    found = set()
    for b in range(count):
        for c in range(b + 1, count):
            between = [a for a in range(count) if (a, b) in number and (a, c) in number]
            if (b, c) in number or len(between) > squares.MOST_BETWEEN:
                continue
            for a in between:
                apart = [d for d in between if d != a and (a, d) not in number]
                for d in apart:
                    found.add((number[a, b], number[c, d], number[a, c], number[b, d], len(apart) == 1))
    return found


@pytest.mark.parametrize("paths", [2**20, 7])
@pytest.mark.parametrize("share", [0.03, 0.1, 0.3])
def test_corners_equal_those_of_loops(monkeypatch, share, paths):
    monkeypatch.setattr(squares, "PATHS", paths)  # many tiles must find what one tile finds
    random = np.random.default_rng(0)
    first, second = np.triu_indices(60, 1)
    edges = np.stack([first, second], 1)[random.random(len(first)) < share]
    corners = find_corners(edges, 60)
    columns = (corners.near, corners.far, corners.left, corners.right, corners.is_only)
    found = [tuple(row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    assert len(found) == len(set(found))
    assert set(found) == list_corners(edges, 60)


def test_graph_without_squares_has_no_corner():
    for edges in (np.empty((0, 2), np.int64), np.array([[0, 1], [1, 2], [0, 2]])):
        assert len(find_corners(edges, 4).near) == 0
