import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from detaux.discover.dependence import (
    compare_labels,
    compare_with_factor,
    compute_ami_within,
    compute_independence,
    count_together,
    name_relation,
)


def draw(samples, classes, seed):
    return np.random.default_rng(seed).integers(classes, size=samples)


def test_equal_labels_depend_fully():
    labels = draw(500, 4, 0)
    measures = compare_labels((labels + 1) % 4, labels)
    assert measures["nmi"] == pytest.approx(1.0)
    assert measures["ami"] == pytest.approx(1.0)
    assert measures["cramers_v"] == pytest.approx(1.0)
    assert measures["chi2_p"] < 1e-12


def test_small_p_rejects_independence_and_large_p_does_not():
    assert compare_labels(draw(2000, 4, 0), draw(2000, 4, 1))["chi2_p"] > 0.01
    labels = draw(2000, 4, 0)
    weak = np.where(np.random.default_rng(1).random(2000) < 0.15, labels, draw(2000, 4, 2))
    related = compare_labels(weak, labels)
    assert related["chi2_p"] < 1e-3
    assert related["cramers_v"] < 0.25


def test_independent_labels_have_no_adjusted_information():
    measures = compare_labels(draw(2000, 5, 0), draw(2000, 5, 1))
    assert abs(measures["ami"]) < 0.01
    assert measures["cramers_v"] < 0.1


def test_measures_match_hand_computed_table():
    # counts [[30, 10], [10, 30]]: chi-squared 20, V = sqrt(20 / 80)
    measures = compare_labels(np.repeat([0, 0, 1, 1], [30, 10, 10, 30]), np.repeat([0, 1, 0, 1], [30, 10, 10, 30]))
    assert measures["cramers_v"] == pytest.approx(0.5)
    assert measures["chi2_p"] == pytest.approx(7.744216e-06, rel=1e-5)


def test_points_without_a_principal_label_are_left_out():
    labels = draw(400, 3, 0)
    hidden = np.where(np.arange(400) % 2 == 0, -1, labels)
    assert compare_labels(labels, hidden)["nmi"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("found", "principal"), [(np.zeros(9, int), np.arange(9) % 3), (np.arange(9) % 3, np.zeros(9, int))]
)
def test_one_class_tells_nothing(found, principal):
    assert compare_labels(found, principal) == {
        "nmi": 0.0,
        "ami": 0.0,
        "chi2_p": 1.0,
        "cramers_v": 0.0,
        "unexplained": 1.0,
    }


def test_no_principal_label_gives_no_measure():
    assert set(compare_labels(np.arange(5), np.full(5, -1)).values()) == {None}


def test_finer_clusters_are_homogeneous_and_incomplete():
    factor = draw(600, 3, 0)
    measures = compare_with_factor(factor * 2 + draw(600, 2, 1), factor)
    assert measures["homogeneity"] == pytest.approx(1.0)
    assert measures["completeness"] < 0.8
    harmonic = (
        2 * measures["homogeneity"] * measures["completeness"] / (measures["homogeneity"] + measures["completeness"])
    )
    assert measures["v_measure"] == pytest.approx(harmonic)


def test_counts_of_a_table_leave_out_points_without_a_class():
    counts = count_together(np.array([0, 0, -1, 1, 0]), np.array([2, 2, 1, 0, 0]), 2, 3)
    assert counts.tolist() == [[1, 0, 2], [1, 0, 0]]


def follow(labels, share, classes, seed):
    """A factor of as many values that equals the labels in a share of the points, and elsewhere is any other value."""
    random = np.random.default_rng(seed)
    return (labels + (random.random(len(labels)) >= share) * random.integers(1, classes, len(labels))) % classes


def test_unexplained_share_is_that_of_the_entropy_given_the_label():
    labels = draw(20000, 10, 0)
    # H(factor | label) = -.95 ln .95 - .05 ln (.05 / 9), H(factor) = ln 10
    expected = -(0.95 * np.log(0.95) + 0.05 * np.log(0.05 / 9)) / np.log(10)
    found = compare_labels(follow(labels, 0.95, 10, 1), labels)["unexplained"]
    assert found == pytest.approx(expected, abs=0.01)
    assert found > 0.1


def test_the_label_and_its_joined_classes_leave_nothing_unexplained():
    labels = draw(500, 6, 0)
    assert compare_labels((labels + 1) % 6, labels)["unexplained"] == pytest.approx(0.0, abs=1e-9)
    assert compare_labels(labels // 3, labels)["unexplained"] == pytest.approx(0.0, abs=1e-9)
    assert compare_labels(labels, labels // 3)["unexplained"] > 0.5


def test_few_labels_do_not_explain_an_independent_factor():
    few = np.where(np.arange(2000) < 30, draw(2000, 10, 0), -1)
    measures = compare_labels(draw(2000, 10, 1), few)
    assert measures["nmi"] > 0.4
    assert measures["unexplained"] > 0.7
    assert name_relation(measures, 0.1) == "unrelated"
    single = np.where(np.arange(2000) < 5, np.arange(2000), -1)
    assert compare_labels(np.arange(2000), single)["unexplained"] == 1.0


@pytest.mark.parametrize(("share", "relation"), [(0.1, "unrelated"), (0.7, "related"), (0.95, "related")])
def test_factor_that_follows_the_label_is_called_related(share, relation):
    labels = draw(1000, 10, 0)
    measures = compare_labels(follow(labels, share, 10, 1), labels)
    assert name_relation(measures, 0.1) == relation
    assert name_relation(measures, 1.0) == "unrelated"
    assert measures["unexplained"] > 0.1


def test_relation_without_labels_has_no_name():
    assert name_relation(compare_labels(np.arange(5), np.full(5, -1)), 0.1) is None


def test_information_within_one_class_equals_that_of_scikit_learn():
    first, second = draw(300, 4, 0), draw(300, 3, 1)
    second = np.where(draw(300, 2, 2), first % 3, second)
    within = compute_ami_within(first, second, np.zeros(300, int))
    assert within == pytest.approx(adjusted_mutual_info_score(first, second), abs=1e-9)


def test_factors_that_follow_one_label_are_independent_within_its_classes():
    labels = draw(2000, 10, 0)
    one, two = (follow(labels, 0.95, 10, seed) for seed in (1, 2))
    assert adjusted_mutual_info_score(one, two) > 0.7
    assert abs(compute_ami_within(one, two, labels)) < 0.1
    assert compute_ami_within(one, (one + 1) % 10, labels) == pytest.approx(1.0)


def test_information_within_classes_leaves_out_points_without_one():
    labels, first = draw(600, 3, 0), draw(600, 4, 1)
    other = np.where(labels == 0, draw(600, 4, 2), first)
    assert compute_ami_within(first, other, np.where(labels == 0, -1, labels)) == pytest.approx(1.0)
    assert compute_ami_within(first, other, labels) < 0.8


def test_labellings_that_are_constant_in_each_class_cannot_be_compared_within():
    labels = draw(100, 4, 0)
    assert compute_ami_within(labels, labels // 2, labels) is None
    assert compute_ami_within(labels, labels, np.full(100, -1)) is None


def test_independence_is_one_by_chance_whatever_the_number_of_classes():
    values = [compute_independence(draw(500, 2, seed), draw(500, 26, 100 + seed)) for seed in range(40)]
    assert np.mean(values) > 0.95  # the plain 1 - V is .78 here
    assert np.mean([value == 1 for value in values]) > 0.4


def test_independence_of_a_labelling_and_its_copy_is_zero_and_half_of_a_half_copy():
    labels = draw(3000, 4, 0)
    assert compute_independence((labels + 1) % 4, labels) == pytest.approx(0, abs=1e-6)
    # phi = .5 in a table of two by two, from which the correction takes about 1 / n
    found, principal = (np.repeat(one, [900, 300, 300, 900]) for one in ([0, 0, 1, 1], [0, 1, 0, 1]))
    assert compute_independence(found, principal) == pytest.approx(0.5, abs=0.001)


def test_independence_needs_two_classes_of_known_points():
    labels = draw(50, 3, 0)
    assert compute_independence(labels, np.zeros(50, int)) == 1
    assert compute_independence(labels, np.full(50, -1)) == 1
    known = np.where(np.arange(50) < 25, labels, -1)
    assert compute_independence(labels, known) == pytest.approx(0, abs=1e-6)
