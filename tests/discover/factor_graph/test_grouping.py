import numpy as np
import torch

from detaux.discover.factor_graph.grouping import count_meetings, count_squares, group_changes, relate_changes
from detaux.discover.factor_graph.squares import find_corners


def test_counts_equal_those_of_a_grid_by_hand():
    """A grid of 3 x 2: change 0 goes along the rows, change 1 between them."""
    edges = np.array([[0, 1], [1, 2], [3, 4], [4, 5], [0, 3], [1, 4], [2, 5]])
    change = np.array([0, 0, 0, 0, 1, 1, 1])
    meetings, squares = count_meetings(edges, change, 6), count_squares(find_corners(edges, 6), change)
    assert meetings[0, 1] == meetings[1, 0] == 8  # one at each corner, two at each middle
    assert squares[0, 1] == squares[1, 0] == 8  # each is a corner of one of the two squares
    change[4] = -1  # now only the right square is whole, and the left column has no known edge between the rows
    assert count_meetings(edges, change, 6)[0, 1] == 6
    assert count_squares(find_corners(edges, 6), change)[0, 1] == 4


def test_relation_equals_that_of_scatter_matrices_by_hand():
    steps = torch.tensor([[2.0, 0], [0, 3], [1, 1]])
    inner = relate_changes(steps, np.array([0, 0, 1]))
    # scatters: the identity, and a matrix of halves
    np.testing.assert_allclose(inner, [[2, 1], [1, 1]], rtol=1e-6)


def group(meetings, squares, inner, principal=(False, False, False)):
    full = [np.array(matrix) for matrix in (meetings, squares, inner)]
    return sorted(sorted(one) for one in group_changes(*full, principal))


MEET = [[0, 40, 40], [40, 0, 40], [40, 40, 0]]
APART = [[0, 2, 20], [2, 0, 20], [20, 20, 0]]  # 0 and 1 hardly ever span a square
NONE = np.zeros((3, 3), int)
LIKE = [[1, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0.5, 1]]


def test_changes_that_span_no_square_are_one_factor():
    assert group(MEET, APART, LIKE) == [[0, 1], [2]]


def test_changes_without_a_common_direction_are_not_joined():
    assert group(MEET, APART, np.eye(3)) == [[0], [1], [2]]


def test_changes_that_never_meet_are_joined_by_their_directions():
    assert group(NONE, NONE, [[1, 0.5, 0], [0.5, 1, 0.05], [0, 0.05, 1]]) == [[0, 1], [2]]


def test_most_related_changes_are_joined_first():
    """Change 1 fits both others, which span squares with each other."""
    squares = [[0, 0, 40], [0, 0, 0], [40, 0, 0]]
    assert group(MEET, squares, [[1, 0.3, 0], [0.3, 1, 0.6], [0, 0.6, 1]]) == [[0], [1, 2]]


def test_principal_changes_are_not_joined_with_hidden_ones():
    assert group(MEET, NONE, LIKE, (True, False, False)) == [[0], [1, 2]]
    assert group(MEET, NONE, LIKE, (True, None, False)) in ([[0, 1], [2]], [[0], [1, 2]])
    assert group(MEET, NONE, LIKE, (True, None, True)) == [[0, 1, 2]]
