import numpy as np
import pytest

from detaux.discover.dependence import compare_labels, compare_with_factor, count_together


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
    assert compare_labels(found, principal) == {"nmi": 0.0, "ami": 0.0, "chi2_p": 1.0, "cramers_v": 0.0}


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
