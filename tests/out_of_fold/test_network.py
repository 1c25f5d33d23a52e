import math

import numpy as np
import pytest
import torch

from detaux.data.augment import remove_noise, salt_images, to_float
from detaux.data.draws import draw_picture_noise
from detaux.out_of_fold.network import MOST_SIDE, ForgetPlaces, build_network, shrink_images
from detaux.out_of_fold.training import predict_folds, train_network


def test_pictures_are_those_that_the_encoder_embeds():
    images = torch.randint(0, 256, (20, 12, 12, 3), dtype=torch.uint8)
    assert shrink_images(images, 0.0, False, 0) is images
    noise = draw_picture_noise(images.shape, 7)(range(20))
    expected = remove_noise(salt_images(to_float(images), 0.2, noise)).permute(0, 2, 3, 1)
    assert (shrink_images(images, 0.2, True, 7).float() / 255 - expected).abs().max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("side", [8, 9, 28, 224, 512])
def test_pictures_of_any_side_fit_the_network_and_large_ones_are_averaged(side):
    images = torch.randint(0, 256, (2, side, side, 1), dtype=torch.uint8)
    seen = shrink_images(images, 0.0, False, 0)
    assert seen.shape[1] == min(side, MOST_SIDE)
    assert abs(seen.float().mean() - images.float().mean()) < 1.5
    assert build_network(seen.shape[1], 1, 3).eval()(to_float(seen)).shape == (2, 3)


def test_in_training_some_images_lose_the_places_of_their_map_and_later_none():
    torch.manual_seed(0)
    maps, layer = torch.rand(400, 3, 4, 4), ForgetPlaces(0.25)
    seen = layer(maps)
    loses = (seen == maps.mean((2, 3), keepdim=True)).flatten(1).all(1)
    assert torch.equal(seen[~loses], maps[~loses])
    assert 70 <= loses.sum() <= 130
    assert layer.eval()(maps) is maps


def test_a_network_knows_places_although_training_hides_them():
    """Only the place of a bright patch tells two clusters apart."""
    random = np.random.default_rng(0)
    labels = random.integers(2, size=400)
    images = torch.from_numpy(random.integers(60, size=(400, 16, 16, 1), dtype=np.uint8))
    for number, label in enumerate(labels):
        row, column = random.integers(2, 12, 2)
        images[number, row : row + 3, (column // 2 + 8 * label) : (column // 2 + 8 * label) + 3] = 255
    rows = np.arange(200)
    network = train_network(images, rows, labels[rows], 2, 120, 64, (0,), math.inf)
    found = predict_folds([network], images, np.zeros(400, np.int64), 2).argmax(1)
    assert (found[200:] == labels[200:]).mean() > 0.9
