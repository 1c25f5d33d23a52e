import pytest
import torch

from detaux.data.augment import change_colours, draw_colours, draw_moves, move_images, remove_noise, salt_images
from detaux.data.prepare import BATCH_BYTES, fit_batch, prepare_images


def draw_images(count=5, side=8):
    return torch.randint(256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def refuse():
    raise AssertionError("nothing is drawn without noise")


def test_images_become_floats_channels_first_in_channels_last_memory():
    images = draw_images()
    found = prepare_images(images, torch.device("cpu"), draw=refuse, denoise=True)
    torch.testing.assert_close(found, images.permute(0, 3, 1, 2) / 255, rtol=0, atol=0)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("denoise", [False, True])
def test_images_are_moved_coloured_salted_and_rid_of_salt_in_this_order(denoise):
    images, draw = draw_images(), torch.rand(5, 8, 8, generator=torch.Generator().manual_seed(1))
    moves = draw_moves(5, 2, True, torch.Generator().manual_seed(2))
    colours = draw_colours(5, 0.5, torch.Generator().manual_seed(3))
    found = prepare_images(images, moves_N3=moves, colours_N3=colours, noise=0.3, draw=lambda: draw, denoise=denoise)
    coloured = change_colours(move_images(images, moves).permute(0, 3, 1, 2) / 255, colours)
    expected = salt_images(coloured, 0.3, draw)
    assert torch.equal(found, remove_noise(expected) if denoise else expected)


@pytest.mark.parametrize(("most", "side", "rows"), [(512, 28, 512), (512, 64, 512), (512, 65, 496), (512, 224, 41)])
def test_batch_is_the_whole_one_up_to_64_pixels_and_has_as_many_bytes_beyond(most, side, rows):
    shape = torch.Size((70_000, side, side, 3))
    assert fit_batch(most, shape) == rows
    assert rows * 4 * side * side * 3 <= BATCH_BYTES


def test_batch_has_one_image_however_large():
    assert fit_batch(512, torch.Size((2, 4000, 4000, 3)), 1000) == 1
