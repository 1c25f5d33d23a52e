import numpy as np
import pytest
import torch

from detaux.disentangle.independence import (
    find_independent_parts,
    join_components,
    measure_information,
    start_projectors,
)
from detaux.disentangle.projectors import StackedProjectors

COUNT = 4000


def draw_sources(random):
    """A ring of five values, a switch of two, and an even spread: three sources in four dimensions."""
    angle = 2 * np.pi * random.integers(0, 5, COUNT) / 5
    ring = np.stack([np.cos(angle), np.sin(angle)], 1) + random.normal(0, 0.05, (COUNT, 2))
    switch = random.choice([-1.0, 1.0], COUNT) + random.normal(0, 0.1, COUNT)
    return ring, switch, random.uniform(-1, 1, COUNT)


@pytest.fixture
def mixed():
    """The sources, mixed by an invertible matrix, beside two dimensions without use."""
    random = np.random.default_rng(0)
    ring, switch, spread = draw_sources(random)
    sources = np.column_stack([ring, switch, spread])
    codes = sources @ random.normal(size=(4, 4)) + random.normal(size=4)
    return sources, np.column_stack([codes, random.normal(0, 0.01, (COUNT, 2)) + 3])


def explain(points, target):
    """The share of the target's variance that a linear function of the points explains."""
    design = np.column_stack([points, np.ones(len(points))])
    rest = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return 1 - rest.var(0).sum() / target.var(0).sum()


def test_each_source_of_a_mixture_becomes_one_part_and_a_ring_stays_whole(mixed):
    sources, codes = mixed
    parts = find_independent_parts(codes, most=9, seed=0)
    assert len(parts.maps_GFF) == 3
    found = [(codes - parts.mean_F) @ one for one in parts.maps_GFF]
    for wanted in (sources[:, :2], sources[:, 2:3], sources[:, 3:]):
        shares = sorted(explain(points, wanted) for points in found)
        assert shares[-1] > 0.99
        assert shares[-2] < 0.05


def test_parts_add_up_to_the_code_and_come_in_the_order_of_their_variance(mixed):
    _, codes = mixed
    parts = find_independent_parts(codes, most=9, seed=0)
    centred = codes - parts.mean_F
    np.testing.assert_allclose((centred @ parts.maps_GFF.sum(0))[:, :4], centred[:, :4], atol=1e-6)
    spread = [(centred @ one).var(0).sum() for one in parts.maps_GFF]
    assert spread == sorted(spread, reverse=True)


def test_no_more_parts_than_asked_for(mixed):
    assert len(find_independent_parts(mixed[1], most=2, seed=0).maps_GFF) == 2


def test_codes_without_use_have_no_part_and_one_dimension_in_use_is_one():
    quiet = np.random.default_rng(0).normal(0, 0.01, (50, 3))
    assert len(find_independent_parts(quiet, most=5, seed=0).maps_GFF) == 0
    quiet[:, 1] *= 100
    (only,) = find_independent_parts(quiet, most=5, seed=0).maps_GFF
    np.testing.assert_allclose(only, np.diag([0.0, 1.0, 0.0]))


def test_information_is_below_the_limit_for_independent_components_and_above_for_a_ring():
    random = np.random.default_rng(1)
    ring, switch, spread = draw_sources(random)
    excess = measure_information(np.column_stack([ring, switch, spread]), 0)
    assert excess[0, 1] > 0
    assert np.delete(excess[np.triu_indices(4, 1)], 0).max() < 0


def test_components_join_by_their_mean_excess():
    excess = np.array([[0, 3, 1], [3, 0, -2], [1, -2, 0]], float)
    assert join_components(excess, most=3) == [[0, 1], [2]]  # the mean of 1 and -2 is below 0
    assert join_components(excess, most=1) == [[0, 1, 2]]


def test_projectors_start_as_the_parts_and_add_up_to_the_code(mixed):
    _, free = mixed
    torch.manual_seed(0)
    codes = torch.cat([torch.randn(COUNT, 2, dtype=torch.float64), torch.from_numpy(free)], 1)
    projectors = StackedProjectors(subspaces=6, channels=8, hidden=8).double()
    parts = find_independent_parts(free, most=5, seed=0)
    start_projectors(projectors, parts, codes)
    found = projectors(codes).detach()
    torch.testing.assert_close(found.sum(1)[:, :6], codes[:, :6], atol=1e-6, rtol=0)
    torch.testing.assert_close(found[:, 0, :2], codes[:, :2])  # the label's part
    assert found[:, 0, 2:].std(0).max() < 1e-9
    for place, one in enumerate(parts.maps_GFF, start=1):
        expected = (free - parts.mean_F) @ one
        np.testing.assert_allclose(found[:, place, 2:], expected, atol=1e-6)
        assert found[:, place, :2].abs().max() < 1e-9
    assert found[:, 4:].abs().max() == 0
