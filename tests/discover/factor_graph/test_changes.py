import numpy as np
import pytest
import torch

from detaux.discover.factor_graph import changes
from detaux.discover.factor_graph.changes import join_alike, join_opposite, name_changes
from detaux.discover.factor_graph.squares import Corners, find_corners

SQUARE = np.array([[0, 1], [2, 3], [0, 2], [1, 3]])  # its edges 0 and 1 are opposite, and 2 and 3


def list_pairs(matrix) -> set[tuple[int, int]]:
    return {(min(pair), max(pair)) for pair in np.argwhere(matrix.toarray()).tolist()}


def test_opposite_edges_are_joined_only_if_they_look_alike():
    corners = find_corners(SQUARE, 4)
    alike, turned = [[1.0, 0], [1, 0]], [[0, 1.0], [1, 1]]  # the second pair has a cosine of .71
    assert list_pairs(join_opposite(corners, torch.tensor(alike + alike))) == {(0, 1), (2, 3)}
    assert list_pairs(join_opposite(corners, torch.tensor(alike + turned))) == {(0, 1)}


def test_corner_with_a_second_image_that_fits_joins_nothing():
    corners = find_corners(SQUARE, 4)
    unsure = Corners(corners.near, corners.far, corners.left, corners.right, np.zeros_like(corners.is_only))
    assert list_pairs(join_opposite(unsure, torch.ones(4, 2))) == set()


def test_alike_steps_equal_those_of_loops(monkeypatch):
    monkeypatch.setattr(changes, "NEAREST_STEPS", 3)
    random = np.random.default_rng(0)
    steps = random.normal(size=(4, 5))[random.integers(4, size=200)] + random.normal(0, 0.2, (200, 5))
    steps *= random.choice([-1, 1], 200)[:, None]
    length = np.linalg.norm(steps, axis=1)
    cosine = np.abs(steps @ steps.T) / np.outer(length, length)
    np.fill_diagonal(cosine, -1)
    near = [set(np.argsort(-row)[:3].tolist()) for row in cosine]
    expected = {
        (min(one, other), max(one, other))
        for one in range(200)
        for other in near[one]
        if cosine[one, other] >= 0.9
        if max(length[one], length[other]) <= 1.3 * min(length[one], length[other])
    }
    assert len(expected) > 30
    assert list_pairs(join_alike(torch.from_numpy(steps).float())) == expected


def test_changes_are_numbered_by_their_edges_and_rare_ones_have_none():
    steps = torch.cat([torch.eye(3)[[0]].repeat(9, 1), torch.eye(3)[[1]].repeat(12, 1), torch.eye(3)[[2]].repeat(7, 1)])
    none = find_corners(np.empty((0, 2), np.int64), 2)
    np.testing.assert_array_equal(name_changes(none, steps), [1] * 9 + [0] * 12 + [-1] * 7)


def test_change_with_a_small_share_of_the_edges_is_rare(monkeypatch):
    monkeypatch.setattr(changes, "LEAST_SHARE", 0.5)
    steps = torch.cat([torch.eye(2)[[0]].repeat(9, 1), torch.eye(2)[[1]].repeat(12, 1)])
    none = find_corners(np.empty((0, 2), np.int64), 2)
    assert set(name_changes(none, steps)[:9]) == {-1}


@pytest.mark.parametrize("edges", [0, 1])
def test_graph_with_hardly_an_edge_has_no_change(edges):
    none = find_corners(np.empty((0, 2), np.int64), 2)
    assert (name_changes(none, torch.ones(edges, 2)) == -1).all()
