import numpy as np
import pytest
import torch

from detaux.discover.factor_graph import edges
from detaux.discover.factor_graph.edges import find_edges


def list_relative_neighbours(points: np.ndarray) -> set[tuple[int, int]]:
    """Apply the definition to all triples in float64."""
    distance = np.linalg.norm(points[:, None] - points[None].astype(np.float64), axis=2)
    found = set()
    for a in range(len(points)):
        for b in range(a + 1, len(points)):
            others = [c for c in range(len(points)) if c not in (a, b)]
            if all(max(distance[a, c], distance[c, b]) >= distance[a, b] for c in others):
                found.add((a, b))
    return found


@pytest.mark.parametrize("dims", [2, 6])
def test_edges_equal_the_definition_on_random_points(dims):
    points = np.random.default_rng(dims).normal(size=(150, dims)).astype(np.float32)  # more than a tile of rows
    found = find_edges(torch.from_numpy(points))
    assert set(map(tuple, found.tolist())) == list_relative_neighbours(points)
    assert (found[:, 0] < found[:, 1]).all()


def test_edges_of_a_grid_with_unlike_scales_join_images_that_differ_in_one_coordinate():
    """The far coordinate's neighbours are behind all 40 images of one value, and are found all the same."""
    near, far = np.meshgrid(np.arange(40), 40.0 * np.arange(3))
    points = np.stack([near.ravel(), far.ravel()], 1).astype(np.float32)
    differs = (points[:, None] != points[None]).sum(2)
    is_step = np.abs(points[:, None] - points[None]).sum(2)
    expected = {tuple(pair) for pair in np.argwhere((differs == 1) & np.isin(is_step, (1, 40))) if pair[0] < pair[1]}
    assert set(map(tuple, find_edges(torch.from_numpy(points)).tolist())) == expected


def test_equal_points_are_not_joined():
    assert len(find_edges(torch.ones(5, 3))) == 0
    assert len(find_edges(torch.ones(1, 3))) == 0


def test_image_tries_only_the_nearest(monkeypatch):
    monkeypatch.setattr(edges, "MOST_TRIED", 2)
    star = torch.cat([torch.zeros(1, 8), torch.diag(torch.arange(1.0, 9.0))])  # the centre has eight neighbours
    assert find_edges(star).tolist() == [[0, 1], [0, 2]]
