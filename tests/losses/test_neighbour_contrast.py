import math

import pytest
import torch

from detaux.losses.neighbour_contrast import neighbour_contrast_loss

ALL = torch.ones(2, dtype=torch.bool)


def test_neighbour_contrast_matches_hand_value():
    """Pairs (0, 1) and (3, 3): q is 1/2 within the first, 1 within the second, 1/10 and 1/5 between them."""
    space = torch.tensor([[0.0], [3.0], [1.0], [3.0]])
    first = (math.log((0.5 + 0.2) / 0.5) + math.log((0.5 + 0.4) / 0.5)) / 2
    second = math.log(1 + 0.1 + 0.2)
    assert neighbour_contrast_loss(space, 2, ALL).item() == pytest.approx((first + second) / 2)
    assert neighbour_contrast_loss(space, 2, torch.tensor([True, False])).item() == pytest.approx(first)


@pytest.mark.parametrize("chains", [6, 2], ids=["pairs", "chains of pairs"])
def test_neighbour_contrast_matches_loop_version(loops, draw, chains):
    space = draw(12, 5)
    is_near = torch.arange(12 - chains) % 3 > 0
    expected = loops.compute_neighbour_contrast(space.tolist(), chains, is_near.tolist())
    assert neighbour_contrast_loss(space, chains, is_near).item() == pytest.approx(expected, rel=1e-12)


def test_neighbour_contrast_gradient_matches_finite_differences(draw):
    space = draw(8, 3).requires_grad_()
    is_near = torch.tensor([True, False, True, True])
    assert torch.autograd.gradcheck(lambda values: neighbour_contrast_loss(values, 4, is_near), (space,))


def test_neighbour_contrast_approaches_zero_where_near_images_coincide_far_from_all_others():
    space = 1e4 * torch.arange(4.0).repeat(2)[:, None]
    assert neighbour_contrast_loss(space, 4, torch.ones(4, dtype=torch.bool)) < 1e-6


def test_neighbour_contrast_draws_near_images_together_and_others_apart():
    space = torch.tensor([[0.0], [2.0], [0.5], [2.5]], requires_grad=True)
    neighbour_contrast_loss(space, 2, ALL).backward()
    moved = (space - 0.1 * space.grad).detach()
    distance = torch.cdist(moved, moved)
    assert distance[0, 2] < 0.5
    assert distance[1, 3] < 0.5
    assert distance[0, 1] > 2


def test_neighbour_contrast_without_a_near_pair_is_zero(draw):
    space = draw(4, 3).requires_grad_()
    loss = neighbour_contrast_loss(space, 2, ~ALL)
    loss.backward()
    assert loss == 0
    assert torch.equal(space.grad, torch.zeros_like(space))


def test_images_of_pairs_that_are_not_near_only_repel(draw):
    space = draw(4, 3).requires_grad_()
    neighbour_contrast_loss(space, 2, torch.tensor([True, False])).backward()
    away = space[1] - (space[0] + space[2]) / 2
    assert (space.grad[1] * away).sum() < 0  # a step against the gradient leads away


def test_neighbour_contrast_gradient_of_coinciding_images_is_zero_not_nan():
    space = torch.zeros(4, 3, requires_grad=True)
    loss = neighbour_contrast_loss(space, 2, ALL)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3))
    assert torch.equal(space.grad, torch.zeros(4, 3))


def test_neighbour_contrast_ignores_where_the_space_lies_and_how_it_is_turned(draw):
    space, turn = draw(10, 4), torch.linalg.qr(draw(4, 4)).Q
    is_near = torch.tensor([True, True, False, True, True])
    expected = neighbour_contrast_loss(space, 5, is_near)
    torch.testing.assert_close(neighbour_contrast_loss(space @ turn + 3, 5, is_near), expected)


def test_neighbour_contrast_ignores_strides_and_computes_in_float32(draw, check_inputs):
    is_near = torch.arange(20) % 2 == 0
    check_inputs(lambda values: neighbour_contrast_loss(values, 20, is_near), draw(40, 63))
