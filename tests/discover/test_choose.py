import numpy as np
import pytest

from detaux.config.choice_rules import CHOICE_RULES
from detaux.config.schema import DiscoverConfig
from detaux.discover.candidates.candidate import Fault
from detaux.discover.choose import describe_nothing, find_fault, group_passing, rank_candidates
from detaux.discover.shape import Shape

TWO = [0, 1] * 50
UNKNOWN = np.full(100, -1)
ONE_CLUSTER = Fault("with_one_cluster", "one cluster")


def make_field(make_candidate):
    """Three candidates, each the best by other scores."""
    rows = [
        {
            "separation": 1.0,
            "distance": 0.3,
            "dot": 0.3,
            "invariance": 0.3,
            "silhouette": 0.5,
            "validity": 0.7,
            "stability": 0.8,
            "agreement": 0.6,
            "independent_recognition": 0.4,
        },
        {
            "separation": 0.5,
            "distance": 0.1,
            "dot": 0.2,
            "invariance": 0.1,
            "silhouette": 0.6,
            "validity": 0.9,
            "stability": 0.7,
            "agreement": 0.9,
            "independent_recognition": 0.9,
        },
        {
            "separation": 0.7,
            "distance": 0.2,
            "dot": 0.1,
            "invariance": 0.2,
            "silhouette": 0.9,
            "validity": 0.8,
            "stability": 0.6,
            "agreement": 0.9,
            "independent_recognition": 0.8,
        },
    ]
    return [make_candidate(TWO, subspaces=(index,), **scores) for index, scores in enumerate(rows, start=1)]


WINNERS = {
    "separation": 0,
    "paper": 1,
    "official": 2,
    "invariance": 1,
    "least_noise": 2,
    "silhouette": 2,
    "validity": 1,
    "stability": 0,
    "recognition": 1,
    "agreement": 2,  # of two equals the one that separates better
}


@pytest.mark.parametrize(("rule", "winner"), WINNERS.items())
def test_rule_picks_the_best_by_its_score(rule, winner, make_candidate):
    assert list(group_passing(make_field(make_candidate), UNKNOWN, rule, 1)) == [winner]


def test_every_rule_the_config_allows_is_tested():
    assert set(CHOICE_RULES) == set(WINNERS)


def test_least_noise_prefers_less_noise_to_silhouette(make_candidate):
    field = [make_candidate([*TWO, -1], silhouette=0.9), make_candidate([*TWO, 1], silhouette=0.1)]
    assert list(group_passing(field, UNKNOWN, "least_noise", 1)) == [1]


def test_rule_passes_over_a_candidate_with_a_fault(make_candidate):
    field = make_field(make_candidate)
    field[0].fault = ONE_CLUSTER
    assert list(group_passing(field, UNKNOWN, "separation", 1)) == [2]


def test_candidate_without_the_score_comes_last(make_candidate):
    field = [make_candidate(TWO, distance=None), make_candidate(TWO, distance=9.0)]
    assert rank_candidates(field, "paper") == [1, 0]


@pytest.mark.parametrize(
    ("labels", "scores", "unexplained", "code", "text"),
    [
        ([0] * 100, {}, 1.0, "with_one_cluster", "one cluster"),
        ([-1] * 100, {}, 1.0, "without_clusters", "no cluster"),
        ([0, 1, -1, -1] * 25, {}, 1.0, "with_too_many_outliers", "max_outlier_fraction"),
        (TWO, {"spread": 1e-6}, 1.0, "dead", "min_variance_fraction"),
        (TWO, {"oracle_share": 0.01}, 1.0, "hardly_used_by_the_oracle", "min_oracle_fraction"),
        (TWO, {"recognition": 0.69}, 1.0, "hardly_recognised", "min_recognition"),
        (TWO, {"recognition": 0.7}, 1.0, None, None),
        (TWO, {"recognition": None}, 1.0, None, None),
        (TWO, {}, 0.04, "explained_by_the_principal_label", "min_unexplained"),
        (TWO, {}, 0.13, None, None),
        (TWO, {"spread": 0.2, "oracle_share": 0.2}, 1.0, None, None),
        (TWO, {"spread": None, "oracle_share": None}, None, None, None),
    ],
)
def test_guard_names_its_fault(labels, scores, unexplained, code, text, make_candidate):
    candidate = make_candidate(labels, **scores)
    candidate.principal = {"nmi": 0.9, "unexplained": unexplained}
    found = find_fault(candidate, DiscoverConfig(min_unexplained=0.05, min_recognition=0.7))
    assert found is None if code is None else (found.code == code and text in found.text)


@pytest.mark.parametrize(
    ("kind", "keys", "on_purpose", "is_refused"),
    [
        ("line", {"cut_continua": False}, False, True),
        ("ring", {"cut_continua": False}, False, True),
        ("line", {}, False, False),
        ("line", {"cut_continua": False}, True, False),
        ("line", {"cut_continua": False, "clusterer": "kmeans"}, False, False),
        ("clusters", {"cut_continua": False}, False, False),
        ("cloud", {"cut_continua": False}, False, False),
        (None, {"cut_continua": False}, False, False),
    ],
)
def test_parts_of_a_line_or_ring_are_refused_unless_asked_for(kind, keys, on_purpose, is_refused, make_candidate):
    candidate = make_candidate(TWO)
    candidate.shape, candidate.cuts_on_purpose = kind and Shape(kind, 1), on_purpose
    found = find_fault(candidate, DiscoverConfig(**keys))
    assert (found is not None and found.code == "cut_through_a_continuum") == is_refused
    candidate.fault = found
    advice = describe_nothing([candidate], DiscoverConfig(**keys), "disentangle.warmup.steps")
    assert ("set discover.cut_continua=true" in advice) == is_refused


def test_tasks_leave_out_repeats_of_a_better_one(make_candidate):
    first, other = np.arange(100) % 2, np.arange(100) // 50
    field = [
        make_candidate(first, separation=0.9),
        make_candidate(1 - first, separation=0.8),
        make_candidate(other, separation=0.7),
    ]
    assert group_passing(field, UNKNOWN, "separation", 3) == {0: [1], 2: []}
    assert group_passing(field, UNKNOWN, "separation", 1) == {0: [1]}


def test_two_factors_that_follow_the_label_are_two_tasks(make_candidate):
    random = np.random.default_rng(0)
    label = np.arange(1000) % 5
    one, two = ((label + (random.random(1000) > 0.9) * random.integers(1, 5, 1000)) % 5 for _ in range(2))
    field = [make_candidate(values, separation=score) for values, score in [(one, 0.9), (4 - one, 0.8), (two, 0.7)]]
    assert list(group_passing(field, label, "separation", 3)) == [0, 2]
    assert list(group_passing(field, np.full(1000, -1), "separation", 3)) == [0]


def test_nothing_eligible_chooses_nothing_and_says_what_to_try(make_candidate):
    field = make_field(make_candidate)
    for candidate in field:
        candidate.fault = ONE_CLUSTER
    assert list(group_passing(field, UNKNOWN, "separation", 1)) == []
    text = describe_nothing(field, DiscoverConfig(), "disentangle.warmup.steps")
    assert "subspace 1: one cluster" in text
    assert "separation 1" in text
    assert "lower discover.min_cluster_size" in text
    assert "lower discover.min_cluster_fraction" in describe_nothing(
        field, DiscoverConfig(min_cluster_size=2), "disentangle.main.steps"
    )


def test_nothing_proposed_says_which_sources_to_add():
    text = describe_nothing([], DiscoverConfig(sources=["graph"]), "disentangle.warmup.steps")
    assert "discover.sources=[graph] proposed no candidate" in text
    assert "set discover.sources=[graph,subspace]" in text
