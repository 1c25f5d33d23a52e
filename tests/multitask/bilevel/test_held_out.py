import pytest
import torch

from detaux.errors import UserError
from detaux.multitask.bilevel.held_out import draw_held_out

LABELS = torch.tensor([0] * 10 + [1] * 30 + [-1] * 9 + [2])


def test_held_out_images_are_a_fraction_of_each_class():
    drawn = draw_held_out(LABELS, 0.2, 3)
    assert LABELS[drawn].tolist() == [0] * 2 + [1] * 6  # the only image of class 2 stays
    assert drawn.unique().tolist() == drawn.tolist()


def test_every_class_with_two_images_holds_out_one():
    assert LABELS[draw_held_out(LABELS, 0.0, 3)].tolist() == [0, 1]


def test_seed_draws_the_images():
    assert draw_held_out(LABELS, 0.2, 3).tolist() == draw_held_out(LABELS, 0.2, 3).tolist()
    assert draw_held_out(LABELS, 0.2, 3).tolist() != draw_held_out(LABELS, 0.2, 4).tolist()


def test_classes_of_single_images_are_refused():
    with pytest.raises(UserError, match="no class has two"):
        draw_held_out(torch.tensor([0, 1, 2, -1]), 0.5, 0)
