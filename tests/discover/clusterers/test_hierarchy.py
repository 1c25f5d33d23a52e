import numpy as np
import pytest

from detaux.discover.clusterers.hierarchy import (
    SELECTIONS,
    assign_points,
    compute_excess_of_mass,
    condense,
    link_single,
    predict_points,
    select_excess_of_mass,
    select_leaves,
)


def make_chain(*weights):
    """Points in a row and the distances between them, as the edges of a tree."""
    return np.stack([np.arange(len(weights)), np.arange(1, len(weights) + 1)], axis=1), np.array(weights, float)


def test_single_linkage_merges_by_weight():
    children, weight, size = link_single(*make_chain(2.0, 1.0, 4.0))
    assert children.tolist() == [[1, 2], [0, 4], [5, 3]]
    assert weight.tolist() == [1.0, 2.0, 4.0]
    assert size.tolist() == [1, 1, 1, 1, 2, 3, 4]


def test_condensed_tree_by_hand():
    """Two threes, of distances 1 and 2, that are 4 apart; a point 5 away leaves the root before they part."""
    tree = condense(*make_chain(1, 1, 4, 2, 2, 5), smallest=3)
    assert tree.parent.tolist() == [-1, 0, 0]
    assert tree.birth.tolist() == [0, 0.25, 0.25]
    first, second = tree.cluster[0], tree.cluster[3]
    assert tree.cluster.tolist() == [first] * 3 + [second] * 3 + [0]
    assert {first, second} == {1, 2}
    assert tree.density.tolist() == [1, 1, 1, 0.5, 0.5, 0.5, 0.2]
    stability = compute_excess_of_mass(tree)
    assert stability[0] == pytest.approx(0.2 + 6 * 0.25)
    assert stability[[first, second]].tolist() == [3 * 0.75, 3 * 0.25]
    assert tree.death[[0, first, second]].tolist() == [0.25, 1, 0.5]


def test_merges_at_one_weight_are_one_whatever_their_order():
    """Three parts meet at 4, and one of them is too small: it goes to neither of the others."""
    for order in ([0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 6, 5, 4, 3], [6, 2, 1, 3, 0, 4, 5]):
        edges = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6], [5, 7]])[order]
        tree = condense(edges, np.array([1, 1, 4, 2, 2, 4, 4.0])[order], smallest=3)
        assert tree.cluster[6] == tree.cluster[7] == 0
        labels, _ = assign_points(tree, select_excess_of_mass(tree))
        assert (labels[6], labels[7]) == (-1, -1)
        assert len({labels[0], labels[3]}) == 2


def test_excess_of_mass_keeps_a_cluster_that_lasts_longer_than_its_parts():
    """Parts at 1.0 and 1.1 hardly part; the whole of them has lasted since 10."""
    far = make_chain(1, 1, 1.1, 1, 1, 10, 2, 2)
    tree = condense(*far, smallest=3)
    labels, _ = assign_points(tree, select_excess_of_mass(tree))
    assert labels.tolist() == [labels[0]] * 6 + [labels[6]] * 3
    labels, _ = assign_points(tree, select_leaves(tree))
    assert len(set(labels)) == 3
    assert -1 not in labels


@pytest.mark.parametrize("name", SELECTIONS)
def test_root_alone_is_noise(name):
    tree = condense(*make_chain(1, 1, 1), smallest=3)
    labels, probability = assign_points(tree, SELECTIONS[name](tree))
    assert labels.tolist() == [-1] * 4
    assert probability.tolist() == [0] * 4


def test_probability_is_the_share_of_a_clusters_life():
    tree = condense(*make_chain(1, 1, 2, 8, 4, 4), smallest=3)
    labels, probability = assign_points(tree, select_excess_of_mass(tree))
    assert len(set(labels)) == 2
    assert probability.tolist() == [1, 1, 1, 0.5, 1, 1, 1]


def test_points_that_coincide_stay_to_the_end():
    tree = condense(*make_chain(0, 0, 3, 1, 1), smallest=3)
    labels, probability = assign_points(tree, select_excess_of_mass(tree))
    assert len(set(labels)) == 2
    assert probability.tolist() == [1.0] * 6


def test_cluster_as_stable_as_its_parts_stays_whole():
    """Root splits at 8 into six points and three; the six last from 1/8 to 1/4, their parts from 1/4 to 3/8."""
    weights = np.array([8 / 3, 8 / 3, 4, 8 / 3, 8 / 3, 8, 1, 1])
    tree = condense(*make_chain(*weights), smallest=3)
    stability = compute_excess_of_mass(tree)
    whole = tree.parent[tree.cluster[0]]
    parts = np.flatnonzero(tree.parent == whole)
    assert stability[whole] == pytest.approx(stability[parts].sum())
    labels, _ = assign_points(tree, select_excess_of_mass(tree))
    assert labels.tolist() == [labels[0]] * 6 + [labels[6]] * 3


def test_prediction_by_hand():
    """Two threes, of distances 1 and 2, that part at 4: a new point 3 away belongs, and one 4 or 5 away does not."""
    tree = condense(*make_chain(1, 1, 4, 2, 2, 5), smallest=3)
    is_selected = select_excess_of_mass(tree)
    labels, probability = assign_points(tree, is_selected)
    nearest, reach = np.array([0, 0, 0, 3, 3, 6, 4]), np.array([1, 3, 4, 2, 5, 1, 0], np.float32)
    found, surely = predict_points(tree, is_selected, labels, probability, nearest, reach)
    assert found.tolist() == [labels[0], labels[0], -1, labels[3], -1, -1, labels[4]]
    assert surely.tolist() == pytest.approx([1, 1 / 3, 0, 1, 0, 0, probability[4]])
