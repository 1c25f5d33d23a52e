import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score, v_measure_score

from detaux.discover.factor_graph import factors as rules
from detaux.discover.factor_graph.factors import Factor, find_factors, find_principal, join_parts


def describe(images):
    return torch.from_numpy(images).flatten(1).float() / 255


def match(found, factors):
    """Return for each found factor the true one that it equals on its images, or -1."""
    names = []
    for one in found:
        known = one.values_P >= 0
        equal = [adjusted_rand_score(column[known], one.values_P[known]) == 1 for column in factors.T]
        names.append(equal.index(True) if any(equal) else -1)
    return sorted(names)


def test_hidden_factors_of_a_grid_come_out_and_the_principal_one_does_not(make_grid):
    images, factors = make_grid()
    found = find_factors(describe(images), factors[:, 2], smallest=10)
    assert match(found, factors) == [0, 1]
    assert all((one.values_P >= 0).all() for one in found)
    for one, part in zip(found, (np.s_[:6], np.s_[6:, :6]), strict=True):  # each moves only its part of the picture
        is_own = np.zeros((12, 12, 3), bool)
        is_own[part] = True
        assert one.directions_Fr[torch.from_numpy(is_own).flatten()].square().sum() > 0.999 * one.directions_Fr.shape[1]


@pytest.mark.parametrize("seed", range(3))
def test_factors_of_a_grid_with_missing_combinations_match_on_most_images(make_grid, seed):
    images, factors = make_grid(seed)
    kept = np.sort(np.random.default_rng(seed).permutation(len(images))[: int(0.7 * len(images))])
    images, factors = images[kept], factors[kept]
    found = find_factors(describe(images), factors[:, 2], smallest=5)
    scores = np.array([[v_measure_score(column, one.values_P) for column in factors.T] for one in found])
    assert sorted(scores.argmax(1)) == [0, 1]
    assert (scores.max(1) > 0.9).all()


def test_labels_that_are_missing_show_the_principal_factor_too(make_grid):
    images, factors = make_grid()
    unknown = np.full(len(images), -1)
    assert match(find_factors(describe(images), unknown, smallest=10), factors) == [0, 1, 2]
    few = np.where(np.random.default_rng(0).random(len(images)) < 0.4, factors[:, 2], -1)
    assert match(find_factors(describe(images), few, smallest=10), factors) == [0, 1]


def test_order_of_the_images_does_not_matter(make_grid):
    images, factors = make_grid()
    order = np.random.default_rng(0).permutation(len(images))
    plain = find_factors(describe(images), factors[:, 2], smallest=10)
    mixed = find_factors(describe(images[order]), factors[order, 2], smallest=10)
    for one, other in zip(plain, mixed, strict=True):
        assert v_measure_score(one.values_P[order], other.values_P) == 1


@pytest.mark.parametrize("limit", ["LEAST_SHARE", "LEAST_INSIDE", "LEAST_CROSSING"])
def test_factor_that_reaches_a_limit_counts_and_one_below_it_does_not(make_grid, monkeypatch, limit):
    images, factors = make_grid()
    reached = 0.2 if limit == "LEAST_SHARE" else 1.0  # all images have a value, and all edges of a factor change it
    monkeypatch.setattr(rules, limit, reached)
    assert match(find_factors(describe(images), factors[:, 2], smallest=10), factors) == [0, 1]
    monkeypatch.setattr(rules, limit, 1.01)
    assert find_factors(describe(images), factors[:, 2], smallest=10) == []


def test_noise_has_no_factor():
    for seed in range(3):
        points = torch.rand(400, 48, generator=torch.Generator().manual_seed(seed))
        assert find_factors(points, np.arange(400) % 3, smallest=15) == []


def test_points_that_cannot_have_edges_have_no_factor():
    for count in (0, 1, 40):
        assert find_factors(torch.ones(count, 4), np.zeros(count, int), smallest=2) == []


def test_change_is_principal_if_most_of_its_labelled_edges_change_the_label():
    labels = np.array([0, 1, 0, -1, 1, 1])
    edges = np.array([[0, 1], [1, 2], [4, 5], [2, 3], [4, 5]])
    assert find_principal(labels, edges, np.array([0, 0, 0, 1, 2])) == [True, None, False]


CHAIN = np.repeat([0, 1, 2, 3], [30, 29, 28, 27])  # the true values of the images of a factor
EDGES = np.array([[0, 31], [1, 32], [31, 60], [60, 90]])  # between values 0 and 1 twice, 1 and 2, 2 and 3


def make_parts(first, second):
    """Two factors with these values: the first is cut after value 0 of the chain, the second after values 1 and 2."""
    owners = np.array([True, True, False, False]), np.array([False, False, True, True])
    pairs = zip((first, second), owners, (torch.eye(3)[:, :1], torch.eye(3)[:, 1:2]), strict=True)
    return [Factor(values, directions, own) for values, own, directions in pairs]


def test_parts_of_one_factor_are_joined():
    first, second = np.array([0, 1, 1, 1])[CHAIN], np.array([0, 0, 1, 2])[CHAIN]
    (joined,) = join_parts(make_parts(first, second), EDGES, smallest=20)
    np.testing.assert_array_equal(joined.values_P, CHAIN)
    assert joined.directions_Fr.shape == (3, 2)
    assert joined.is_own_E.all()


def test_value_of_a_joined_factor_has_the_smallest_size_or_is_none():
    first, second = np.array([0, 1, 1, 1])[CHAIN], np.array([0, 0, 1, 2])[CHAIN]
    (joined,) = join_parts(make_parts(first, second), EDGES, smallest=28)
    np.testing.assert_array_equal(joined.values_P, np.where(CHAIN == 3, -1, CHAIN))


def test_parts_stay_apart_if_too_few_images_would_have_a_value():
    place = np.arange(len(CHAIN))
    first = np.where(place % 5 < 3, np.array([0, 1, 1, 1])[CHAIN], -1)  # each has three fifths, and both one fifth
    second = np.where(place % 5 > 1, np.array([0, 0, 1, 2])[CHAIN], -1)
    assert [one.values_P.tolist() for one in join_parts(make_parts(first, second), EDGES, smallest=1)] == [
        first.tolist(),
        second.tolist(),
    ]


def test_parts_stay_apart_if_the_edges_of_the_joined_factor_do_not_cross_values():
    first, second = np.array([0, 1, 1, 1])[CHAIN], np.array([0, 0, 1, 2])[CHAIN]
    inside = np.array([[0, 1], [2, 3], [31, 32], [60, 90]])
    assert len(join_parts(make_parts(first, second), inside, smallest=1)) == 2
