import pytest
import torch

from detaux.data.components import fit_components

POINTS, NUMBERS, COMPONENTS = 60, 200, 5


def draw_points():
    """Points whose variances fall by a half from one direction to the next."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(NUMBERS, 20, generator=generator)).Q
    return 3 + (torch.randn(POINTS, 20, generator=generator) * 2.0 ** -torch.arange(20)) @ directions.T


@pytest.mark.parametrize("tile", [1, 7, POINTS])
def test_components_in_tiles_are_those_of_the_whole(tile):
    points = draw_points()
    mean, basis = fit_components(lambda: iter(points.split(tile)), COMPONENTS, seed=1)
    centred = points - points.mean(0)
    torch.testing.assert_close(mean, points.mean(0))
    torch.testing.assert_close(basis.T @ basis, torch.eye(COMPONENTS), atol=1e-5, rtol=0)
    exact = torch.linalg.svd(centred, full_matrices=False).Vh[:COMPONENTS].T
    torch.testing.assert_close((basis.T @ exact).abs(), torch.eye(COMPONENTS), atol=1e-2, rtol=0)


def test_components_are_those_of_torch_from_the_same_start():
    points = draw_points()
    _, basis = fit_components(lambda: iter(points.split(9)), COMPONENTS, seed=4)
    torch.manual_seed(4)
    expected = torch.pca_lowrank(points - points.mean(0), COMPONENTS, center=False)[2]
    torch.testing.assert_close(basis.abs(), expected.abs(), atol=1e-4, rtol=1e-3)


def test_components_leave_the_random_state_of_the_run():
    points, state = draw_points(), torch.random.get_rng_state()
    fit_components(lambda: iter(points.split(9)), COMPONENTS, seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
