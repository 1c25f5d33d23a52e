import numpy as np
import torch

from detaux.discover.factor_graph.values import (
    combine_values,
    drop_small,
    find_directions,
    find_kept,
    find_values,
    measure_crossing,
)


def test_directions_span_the_steps_and_leave_out_small_ones():
    random = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(6, 6, generator=random))[0]
    steps = torch.randn(500, 2, generator=random) @ basis[:, :2].T + 0.1 * torch.randn(500, 6, generator=random)
    found = find_directions(steps)
    assert found.shape == (6, 2)
    torch.testing.assert_close(found.T @ found, torch.eye(2), atol=1e-5, rtol=0)
    assert (found.T @ basis[:, :2]).square().sum() > 1.99  # 2 if the planes are equal


def test_edge_is_kept_if_it_hardly_moves_in_the_directions():
    steps = torch.tensor([[2.0, 0], [0, 9], [0.5, 1], [1, 9]])  # squares in the first direction, of 4: 1, 0, 1/16, 1/4
    kept = find_kept(steps, np.array([True, False, False, False]), torch.tensor([[1.0], [0]]))
    assert kept.tolist() == [False, True, True, False]
    own = np.array([True, True, True, False])  # an edge of the factor changes it, whatever its step
    assert find_kept(steps[:, [1, 0]], own, torch.tensor([[1.0], [0]])).tolist() == [False, False, False, False]


def test_values_are_the_connected_parts_by_kept_edges():
    edges = np.array([[0, 1], [1, 2], [3, 4], [2, 3], [5, 6]])
    kept = np.array([True, True, True, False, False])
    assert find_values(edges, kept, 7, smallest=2).tolist() == [0, 0, 0, 1, 1, -1, -1]
    assert find_values(edges, kept, 7, smallest=3).tolist() == [0, 0, 0, -1, -1, -1, -1]
    assert find_values(edges, kept & False, 7, smallest=2).tolist() == [-1] * 7


def test_crossing_counts_only_edges_between_images_with_a_value():
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3]])
    assert measure_crossing(np.array([0, 0, 1, -1]), edges) == 0.5
    assert measure_crossing(np.array([0, -1, 1, -1]), edges) == 0


def test_two_divisions_of_one_chain_of_values_are_combined():
    """Four values in a chain; one division cuts it after the first value, the other after the second and third."""
    truth = np.repeat([0, 1, 2, 3], [30, 29, 28, 27])
    first, second = np.array([0, 1, 1, 1])[truth], np.array([0, 0, 1, 2])[truth]
    np.testing.assert_array_equal(combine_values(first, second), truth)
    np.testing.assert_array_equal(combine_values(first, truth), truth)  # the first is only a coarser version
    lacking = np.where(np.arange(len(truth)) % 10 == 0, -1, second)
    np.testing.assert_array_equal(combine_values(first, lacking), np.where(lacking < 0, -1, truth))


def test_rare_combinations_do_not_hide_that_two_divisions_are_one():
    truth = np.repeat([0, 1, 2], 100)
    first, second = np.array([0, 1, 1])[truth], np.array([0, 0, 1])[truth]
    second[0] = 1  # one image is wrong: a fourth combination
    found = combine_values(first, second)
    assert found[0] == -1
    assert [set(found[truth == value][1:].tolist()) for value in range(3)] == [{2}, {0}, {1}]


def test_independent_values_are_not_combined():
    random = np.random.default_rng(0)
    for first, second in ((2, 2), (5, 4)):
        assert combine_values(random.integers(first, size=300), random.integers(second, size=300)) is None


def test_values_that_share_no_image_are_not_combined():
    first, second = np.array([0, 0, 1, -1, -1, -1]), np.array([-1, -1, -1, 0, 1, 1])
    assert combine_values(first, second) is None


def test_small_values_are_dropped_and_the_others_numbered_anew():
    assert drop_small(np.array([2, 0, 1, 2, 2, -1, 1]), 2).tolist() == [0, -1, 1, 0, 0, -1, 1]
    assert drop_small(np.array([-1, -1]), 1).tolist() == [-1, -1]
