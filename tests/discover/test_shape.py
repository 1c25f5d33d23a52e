"""The shape of planted points: rings, lines, separate values and clouds, turned into more dimensions, with noise."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from detaux.discover.shape import Shape, find_shape, measure_clumping, project_on_line

COUNT = 1500


def turn(points, dims=5, noise=0.05, seed=0):
    """The points [N, d] in a random plane of `dims` dimensions, with noise in all of them."""
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.normal(size=(dims, dims)))[0][: points.shape[1]]
    turned = points @ directions + noise * random.normal(size=(len(points), dims)) + 3.0
    return torch.from_numpy(turned.astype(np.float32))


def draw_angles(degrees=360.0, seed=1):
    return np.random.default_rng(seed).uniform(0, degrees, COUNT)


def lay_round(degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)


def compare_angles(first, second):
    """1 if two lists of angles are the same up to a turn and a reflection, about 0 if they have nothing in common."""
    first, second = (np.exp(1j * np.radians(one)) for one in (first, second))
    return max(abs(np.mean(first * second)), abs(np.mean(first * second.conj())))


@pytest.mark.parametrize("noise", [0.03, 0.1])
def test_ring_with_noise_in_five_dimensions_is_a_ring_with_the_planted_angles(noise):
    angles = draw_angles()
    shape = find_shape(turn(lay_round(angles), noise=noise), 0)
    assert (shape.kind, shape.parts) == ("ring", 1)
    assert compare_angles(shape.coordinate_N, angles) > 0.98
    assert shape.hole == 0
    assert shape.gap < 10
    assert 0 <= shape.coordinate_N.min() < shape.coordinate_N.max() < 360


def test_ring_that_leaves_its_plane_is_a_ring():
    angles = draw_angles()
    shape = find_shape(turn(np.hstack([lay_round(angles), 0.5 * lay_round(2 * angles)])), 0)
    assert shape.kind == "ring"
    assert compare_angles(shape.coordinate_N, angles) > 0.98


@pytest.mark.parametrize("degrees", [270, 315])
def test_arc_with_a_gap_is_a_line_from_end_to_end(degrees):
    angles = draw_angles(degrees)
    shape = find_shape(turn(lay_round(angles)), 0)
    assert shape.kind == "line"
    assert abs(spearmanr(shape.coordinate_N, angles).statistic) > 0.99


@pytest.mark.parametrize("dims", [1, 5])
@pytest.mark.parametrize("draw", ["uniform", "normal"])
def test_straight_line_is_a_line_with_the_planted_positions(dims, draw):
    random = np.random.default_rng(0)
    places = random.uniform(-2, 2, COUNT) if draw == "uniform" else random.normal(size=COUNT)
    shape = find_shape(turn(places[:, None], dims), 0)
    assert (shape.kind, shape.parts) == ("line", 1)
    assert abs(np.corrcoef(shape.coordinate_N, places)[0, 1]) > 0.99
    assert (shape.coordinate_N.min(), shape.coordinate_N.max()) == (0, 1)
    assert shape.explained > 0.95


def test_bent_line_is_a_line_though_no_direction_holds_its_variance():
    places = np.random.default_rng(0).uniform(0, 1, COUNT)
    points = turn(np.hstack([lay_round(180 * places), places[:, None]]), noise=0.03)
    assert project_on_line(points) is None
    shape = find_shape(points, 0)
    assert shape.kind == "line"
    assert abs(spearmanr(shape.coordinate_N, places).statistic) > 0.99


@pytest.mark.parametrize("count", [2, 5, 8])
@pytest.mark.parametrize("lay", ["line", "ring"])
def test_separate_values_are_clusters_whether_they_lie_on_a_line_or_a_ring(count, lay):
    values = np.random.default_rng(0).integers(count, size=COUNT)
    points = values[:, None].astype(float) if lay == "line" else lay_round(values * 360 / count)
    shape = find_shape(turn(points, noise=0.06), 0)
    assert (shape.kind, shape.parts, shape.coordinate_N) == ("clusters", count, None)


@pytest.mark.parametrize(("count", "size"), [(40, 4000), (60, 4000), (200, 4000), (150, COUNT)])
@pytest.mark.parametrize("lay", ["line", "half a turn", "ring"])
def test_many_separate_values_are_no_line_or_ring_and_have_no_wrong_count(count, size, lay):
    values = np.random.default_rng(0).integers(count, size=size) + 0.05 * np.random.default_rng(1).normal(size=size)
    points = values[:, None] if lay == "line" else lay_round(values * {"half a turn": 180, "ring": 360}[lay] / count)
    shape = find_shape(turn(points, noise=0.0), 0)
    assert (shape.kind, shape.parts) == ("clusters", None)


@pytest.mark.parametrize("count", [10, 30, 60, 100])
def test_blobs_in_many_dimensions_have_no_wrong_count(count):
    random = np.random.default_rng(0)
    centres = 5 * random.normal(size=(count, 8))
    points = centres[random.integers(count, size=4000)] + 0.3 * random.normal(size=(4000, 8))
    shape = find_shape(torch.from_numpy(points), 0)
    assert (shape.kind, shape.parts) == ("clusters", count if count < 60 else None)


def test_clumping_is_the_mean_square_of_gaps_by_the_mean_around_them():
    """The gaps 0, 0, 3 come again and again, of mean 1: the mean square is 3. Random points have gaps of mean square 2."""
    assert measure_clumping(3.0 * (np.arange(903) // 3)) == pytest.approx(1.5, abs=0.02)
    assert measure_clumping(np.random.default_rng(0).uniform(size=4000)) == pytest.approx(1, abs=0.1)
    assert measure_clumping(np.zeros(500)) == 0


def test_separate_values_without_noise_are_clusters():
    shape = find_shape(turn(np.random.default_rng(0).integers(6, size=(COUNT, 1)).astype(float), noise=0.0), 0)
    assert (shape.kind, shape.parts) == ("clusters", 6)


def test_few_outliers_do_not_bridge_values():
    random = np.random.default_rng(0)
    values = random.integers(3, size=COUNT).astype(float)
    values[:60] = random.uniform(0, 2, 60)
    assert find_shape(turn(values[:, None]), 0).parts == 3


def test_few_outliers_leave_a_ring_a_ring():
    """Outliers make up 8% of the points; they are left out of the graph."""
    points, outliers = turn(lay_round(draw_angles())), COUNT * 8 // 100
    points[:outliers] = torch.from_numpy(np.random.default_rng(0).uniform(1.8, 4.2, (outliers, 5)))
    assert find_shape(points, 0).kind == "ring"


@pytest.mark.parametrize("width", [0.3, 0.45])
def test_two_values_are_parts_only_if_the_density_between_them_falls_below_half(width):
    """Between two normal distributions at distance 1 the density is 2 exp(-1 / 8 s^2) of that at a peak."""
    values = np.random.default_rng(0).integers(2, size=4000) + width * np.random.default_rng(1).normal(size=4000)
    between = 2 * np.exp(-1 / (8 * width**2)) / (1 + np.exp(-1 / (2 * width**2)))
    shape = find_shape(torch.from_numpy(values[:, None]), 0)
    assert (shape.parts == 2) == (between < 0.5)
    assert shape.kind == ("clusters" if between < 0.5 else "line")


@pytest.mark.parametrize("draw", ["normal", "uniform"])
@pytest.mark.parametrize("dims", [2, 5])
def test_noise_is_a_cloud(draw, dims):
    points = getattr(np.random.default_rng(0), draw)(size=(COUNT, dims))
    shape = find_shape(torch.from_numpy(points), 0)
    assert (shape.kind, shape.parts, shape.coordinate_N) == ("cloud", 1, None)
    assert shape.hole > 0.05


def test_ring_with_two_fifths_of_its_points_inside_is_no_ring():
    """Evenly spread over the disc, a quarter of these lie within half the radius: .1 of all."""
    random = np.random.default_rng(0)
    radius = np.where(np.arange(COUNT) % 5 < 2, np.sqrt(random.uniform(size=COUNT)), 1.0)
    shape = find_shape(turn(radius[:, None] * lay_round(draw_angles()), noise=0.03), 0)
    assert shape.explained > 0.9
    assert (shape.kind, shape.coordinate_N) == ("cloud", None)


def test_few_points_around_a_gap_are_no_ring():
    """A hundred points reach over 40 degrees, so the graph is closed, and only the gap speaks against a ring."""
    angles = np.linspace(0, 320, 100)
    shape = find_shape(turn(lay_round(angles), noise=0.01), 0)
    assert shape.gap > 30
    assert shape.kind != "ring"


def test_thick_ring_is_no_ring():
    """A tube about a circle, as long as its radius is wide: the angle explains too little."""
    points = np.hstack([lay_round(draw_angles()), np.random.default_rng(0).uniform(0, 2.5, (COUNT, 1))])
    assert find_shape(turn(points), 0).kind == "cloud"


@pytest.mark.parametrize("points", [torch.zeros(0, 3), torch.randn(50, 3), torch.ones(500, 3)])
def test_few_points_or_a_single_place_have_no_shape(points):
    assert find_shape(points, 0) is None


def test_shape_does_not_depend_on_unit_or_seed_and_comes_again():
    points = turn(lay_round(draw_angles()))
    first = find_shape(points, 0)
    for other in (find_shape(1e-3 * points, 0), find_shape(points, 1)):
        assert other.kind == first.kind
        assert compare_angles(other.coordinate_N, first.coordinate_N) > 0.98
    np.testing.assert_array_equal(find_shape(points, 0).coordinate_N, first.coordinate_N)


def test_row_holds_the_numbers_and_not_the_coordinates():
    row = Shape("ring", 1, 0.91234567, 0.0, 3.2, np.zeros(5, np.float32)).to_row()
    assert row == {"kind": "ring", "parts": 1, "explained": 0.912346, "hole": 0.0, "gap": 3.2}


def test_points_that_coincide_or_fill_a_plane_are_no_line():
    assert project_on_line(torch.ones(10, 3)) is None
    assert project_on_line(torch.ones(1, 3)) is None
    assert project_on_line(torch.randn(100, 3, generator=torch.Generator().manual_seed(0))) is None


@pytest.mark.parametrize("apart", [1, 3, 20])
def test_points_that_coincide_but_a_few_have_a_shape_without_missing_numbers(apart):
    points_ND = torch.zeros(300, 3)
    points_ND[:apart] = torch.randn(apart, 3, generator=torch.Generator().manual_seed(0))
    json.dumps(find_shape(points_ND, 0).to_row(), allow_nan=False)
