"""Attraction on pictures with a planted factor and a planted continuum, both of which a line holds with noise."""

import time

import numpy as np
import pytest
import torch

from detaux.config.schema import CrossPredictionConfig
from detaux.discover.cross_prediction.attraction import measure_attraction, move_borders

COUNT, SIDE = 400, 8
QUICK = CrossPredictionConfig(steps=80, batch_size=32)


def draw_images(values):
    """Images [COUNT, SIDE, SIDE, 1] with a grey of `values` [COUNT] in 0 .. 1 on the left and any grey on the right."""
    random = np.random.default_rng(0)
    images = random.integers(0, 30, (COUNT, SIDE, SIDE, 1)).astype(float)
    images[:, :, : SIDE // 2] += 200 * values[:, None, None, None]
    images[:, :, SIDE // 2 :] += 200 * random.random(COUNT)[:, None, None, None]
    return torch.from_numpy(images.clip(0, 255).astype(np.uint8))


def attract(values, labels, noise=0.0):
    """Attraction of labels on a line of the values, with noise."""
    line = values + np.random.default_rng(1).normal(0, noise, COUNT)
    points = torch.from_numpy(np.stack([line, 0 * line], 1).astype(np.float32))
    return measure_attraction(draw_images(values), points, labels, QUICK, 0)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_factor_attracts_borders_that_were_moved_away(share):
    is_large = np.random.default_rng(2).random(COUNT) < share
    assert attract(0.25 + 0.5 * is_large, is_large.astype(int), noise=0.05) > 0.9


def test_factor_of_four_values_attracts_borders():
    value = np.arange(COUNT) % 4
    assert attract(value / 3, value, noise=0.03) > 0.9


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_cut_of_a_continuum_stays_near_the_place_where_it_was_put(share):
    # with an even spread both networks put the border into the middle of what they did not learn; .25 of two ideal ones
    draws = [np.random.default_rng(seed).random(COUNT) for seed in (3, 4, 5)]
    assert np.mean([attract(values, (values < share).astype(int)) for values in draws]) < 0.45


def test_border_moves_by_half_of_the_cluster_that_gives():
    line = torch.arange(8.0)[:, None]
    labels = np.array([0, 0, 0, 0, 1, 1, 1, -1])
    moved, inside = move_borders(line, labels, 0)
    np.testing.assert_array_equal(moved, [0, 0, 1, 1, 1, 1, 1, -1])
    # centres 1.5 and 5: inside is the difference of the squared distances to them
    np.testing.assert_allclose(inside[:7], [22.75, 15.75, -8.75, -1.75, 5.25, 12.25, 19.25])
    assert inside[7] == -np.inf
    np.testing.assert_array_equal(move_borders(line, labels, 1)[0], [0, 0, 0, 0, 0, 1, 1, -1])
    np.testing.assert_array_equal(labels, [0, 0, 0, 0, 1, 1, 1, -1])


def test_giver_chooses_the_nearest_cluster_that_takes():
    points = torch.tensor([[0.0, 0], [2, 0], [0, 2], [-2, 0], [6, 0], [0, 3], [-6, 0]])
    labels = np.array([0, 0, 0, 0, 1, 2, 3])
    # the centre of cluster 2 is nearest to the third image, but cluster 2 gives too, and half of its one image is none
    np.testing.assert_array_equal(move_borders(points, labels, 0)[0], [0, 1, 0, 3, 1, 2, 3])


def test_clusters_too_small_to_give_have_no_attraction():
    labels = np.where(np.arange(COUNT) < 15, 1, 0)
    assert attract(np.zeros(COUNT), labels) is None


def test_deadline_ends_it():
    with pytest.raises(TimeoutError):
        measure_attraction(
            draw_images(np.zeros(COUNT)),
            torch.rand(COUNT, 1),
            np.arange(COUNT) % 2,
            QUICK,
            0,
            time.monotonic() - 1,
        )
