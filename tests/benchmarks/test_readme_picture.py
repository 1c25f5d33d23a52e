from types import SimpleNamespace

import numpy as np
import pytest

from detaux.errors import UserError


@pytest.fixture
def program(load):
    return load("readme_picture")


@pytest.fixture
def run():
    """A run with two classes, noise, and three groups of subspaces, as gallery.npz holds them."""
    random = np.random.default_rng(0)
    gallery = {
        "examples": random.integers(256, size=(12, 16, 16, 3), dtype=np.uint8),
        "example_labels": np.repeat([0, 1, 2], 4),  # 2 is noise
        "traversal": random.integers(256, size=(3, 9, 16, 16, 3), dtype=np.uint8),
        "traversal_subspaces": np.array([0, 1, 3]),
        "traversal_groups": np.array(["0", "1 + 2", "3"]),
    }
    return SimpleNamespace(name="run", gallery=gallery, chosen={"clusters": 2, "subspaces": [3]})


def test_layout_has_the_pictures_at_their_places_and_white_between(program):
    pictures = np.stack([np.full((16, 16, 3), value, np.uint8) for value in (10, 20, 30)])
    canvas = program.lay_out(pictures, 2)
    assert canvas.shape == (33, 33, 3)
    assert [canvas[0, 0, 0], canvas[0, 17, 0], canvas[17, 0, 0]] == [10, 20, 30]
    assert (canvas[16] == 255).all()
    assert (canvas[17:, 17:] == 255).all()


def test_principal_and_chosen_groups_come_first_and_stay(program):
    assert program.pick_groups(list(range(10)), [8, 9]) == [0, 8, 9, 1]


def test_picture_shows_each_class_and_group_and_no_noise(program, run):
    figure = program.draw_picture(run)
    assert [axes.get_title() for axes in figure.axes][:3] == ["found class 0", "found class 1", ""]
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["subspace 0\n(your task)", "subspace 3\n(found task)", "subspaces 1 + 2"]


def test_run_without_a_task_is_refused(program, run):
    run.chosen = None
    with pytest.raises(UserError, match="found no hidden task"):
        program.draw_picture(run)
