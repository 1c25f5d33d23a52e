import pytest
import torch

from detaux.data.augment import remove_noise, salt_images, to_float
from detaux.data.draws import draw_picture_noise
from detaux.out_of_fold.network import MOST_SIDE, build_network, shrink_images


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
