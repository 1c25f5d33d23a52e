import sys

import pytest
import torch

from detaux.config.schema import CAGradConfig, MultitaskConfig, NashMTLConfig
from detaux.errors import UserError
from detaux.multitask.aggregators import AGGREGATORS, build_aggregator, check_packages

CONFIG = MultitaskConfig()
CONFLICT = torch.tensor([[3.0, 4.0], [-1.0, 0.5]])  # the product of the rows is -1
THREE = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, -1.0], [-2.0, 0.0, 0.3]])


def aggregate(rule, jacobian, config=CONFIG):
    return build_aggregator(rule, config, len(jacobian), 1.0)(jacobian)


def find_weights(jacobian, gradient):
    """The weights of the rows whose sum is a gradient."""
    return torch.linalg.lstsq(jacobian.T, gradient[:, None]).solution[:, 0]


def test_pcgrad_matches_projections_by_hand():
    """Row 0 loses its part -1/1.25 along row 1, and row 1 its part -1/25 along row 0."""
    expected = (CONFLICT[0] + CONFLICT[1] / 1.25) + (CONFLICT[1] + CONFLICT[0] / 25)
    torch.testing.assert_close(aggregate("pcgrad", CONFLICT), expected)


def test_pcgrad_of_agreeing_gradients_is_their_sum():
    agreeing = torch.tensor([[3.0, 4.0], [1.0, 0.5]])
    torch.testing.assert_close(aggregate("pcgrad", agreeing), agreeing.sum(0))


def test_mgda_matches_the_shortest_vector_between_two_by_hand():
    """On the line from (3, 0) to (0, 1) it is (0.3, 0.9), which is orthogonal to the line."""
    torch.testing.assert_close(aggregate("mgda", torch.tensor([[3.0, 0.0], [0.0, 1.0]])), torch.tensor([0.3, 0.9]))


def test_upgrad_matches_mean_of_projections_by_hand():
    expected = (CONFLICT[0] + CONFLICT[1] / 1.25 + CONFLICT[1] + CONFLICT[0] / 25) / 2
    torch.testing.assert_close(aggregate("upgrad", CONFLICT), expected, rtol=1e-3, atol=1e-3)  # it is regularised


def test_aligned_mtl_gives_orthogonal_gradients_the_length_of_the_shortest():
    found = aggregate("aligned_mtl", torch.tensor([[2.0, 0.0], [0.0, 0.5]]))
    torch.testing.assert_close(found, torch.tensor([0.25, 0.25]))


@pytest.mark.parametrize("radius", [0.0, 0.4, 0.8])
def test_cagrad_matches_the_best_of_all_vectors_at_its_radius(radius):
    """The found vector has the largest least product with a gradient, of all at distance c x |mean| from the mean."""
    mean, angles = CONFLICT.mean(0), torch.linspace(0, 2 * torch.pi, 20_000)
    circle = mean + radius * mean.norm() * torch.stack([angles.cos(), angles.sin()], 1)
    best = circle[(circle @ CONFLICT.T).amin(1).argmax()]
    found = aggregate("cagrad", CONFLICT, MultitaskConfig(cagrad=CAGradConfig(c=radius)))
    torch.testing.assert_close(found, best, rtol=1e-2, atol=1e-2)


def test_nash_mtl_solves_the_bargaining_problem():
    """With d = sum_i a_i g_i, all a_i <g_i, d> are equal (theorem 3.2 of its paper)."""
    found = aggregate("nash_mtl", THREE)
    products = find_weights(THREE, found) * (THREE @ found)
    assert products.tolist() == pytest.approx([products.mean().item()] * 3, rel=0.02)


def test_only_nash_mtl_does_not_read_the_weight():
    lighter = THREE * torch.tensor([[1.0], [0.1], [0.1]])
    for rule, row in AGGREGATORS.items():
        one, two = (aggregate(rule, jacobian) for jacobian in (THREE, lighter))
        assert torch.allclose(one, two, rtol=0.03, atol=0.01) is not row.reads_weight, rule
    assert [rule for rule, row in AGGREGATORS.items() if not row.reads_weight] == ["nash_mtl"]
    assert build_aggregator("nash_mtl", CONFIG, 3, 0.2).weights == [1.0, 1.0, 1.0]
    assert build_aggregator("pcgrad", CONFIG, 3, 0.2).weights == [1.0, 0.2, 0.2]


def test_nash_mtl_solves_anew_only_at_each_given_step():
    config = MultitaskConfig(nash_mtl=NashMTLConfig(update_every=2))
    slow, fast = (build_aggregator("nash_mtl", one, 2, 1.0) for one in (config, CONFIG))
    other = torch.tensor([[3.0, 4.0], [4.0, -2.0]])
    first = find_weights(CONFLICT, slow(CONFLICT))
    fast(CONFLICT)
    ratios = [find_weights(other, one(other)) / first for one in (slow, fast)]
    assert [bool(torch.allclose(*one, rtol=1e-3)) for one in ratios] == [True, False]


def test_nash_mtl_begins_anew_in_each_trial():
    used = build_aggregator("nash_mtl", CONFIG, 2, 1.0)
    used(CONFLICT)
    assert torch.equal(aggregate("nash_mtl", CONFLICT), aggregate("nash_mtl", CONFLICT))


@pytest.mark.parametrize("rule", ["nash_mtl", "upgrad", "mgda"])
def test_gradient_conflicts_with_no_task(rule):
    assert (THREE @ aggregate(rule, THREE)).min() > -1e-3


@pytest.mark.parametrize("rule", AGGREGATORS)
def test_single_task_keeps_its_gradient(rule):
    assert torch.equal(aggregate(rule, THREE[:1]), THREE[0])


@pytest.mark.parametrize("rule", AGGREGATORS)
def test_gradient_of_a_diverged_training_is_not_finite(rule):
    assert aggregate(rule, torch.full((2, 3), torch.nan)).isnan().all()


def test_failure_of_a_solver_on_finite_gradients_is_raised():
    aggregator = build_aggregator("mgda", CONFIG, 2, 1.0)
    with pytest.raises(ValueError, match="dimension 2"):
        aggregator(torch.zeros(2, 3, 4))


def test_random_orders_are_the_same_on_ranks_that_draw_other_dropout():
    found = []
    for draws in (3, 5):
        torch.manual_seed(1)
        aggregator = build_aggregator("pcgrad", CONFIG, 3, 1.0)
        jacobian = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, -1.0, 1.0]])
        for _ in range(4):
            torch.rand(draws)
            found.append(tuple(aggregator(jacobian).tolist()))
    assert found[:4] == found[4:]
    assert len(set(found)) > 1


def test_aggregator_leaves_the_global_draws_as_they_are():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    aggregate("pcgrad", THREE)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("rule", "package"),
    [("pcgrad", "torchjd"), ("cagrad", "cvxpy"), ("nash_mtl", "ecos"), ("upgrad", "quadprog"), ("mgda", "torchjd")],
)
def test_absent_package_is_named_with_the_extra(rule, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for attempt in (lambda: build_aggregator(rule, CONFIG, 2, 1.0), lambda: check_packages(["stl", f"nddr+{rule}"])):
        with pytest.raises(UserError, match=rf"\+{rule} needs the Python package {package}; .*'detaux\[torchjd\]'"):
            attempt()
    check_packages(["stl", "hard_sharing", "hard_sharing+uncertainty"])
