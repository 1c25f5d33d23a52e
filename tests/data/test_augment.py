import pytest
import torch
from torchvision.transforms import functional

from detaux.data.augment import (
    change_colours,
    draw_colours,
    draw_moves,
    move_images,
    remove_noise,
    salt_images,
    to_float,
    turn_images,
)


def noise(share, seed=0, images=None):
    images = (
        torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(9)) * 0.8 + 0.1 if images is None else images
    )
    draw = torch.rand(images.shape[0], *images.shape[2:], generator=torch.Generator().manual_seed(seed))
    return images, salt_images(images, share, draw)


def test_to_float_moves_channels_first_and_scales_to_one():
    images = torch.arange(2 * 3 * 4 * 3, dtype=torch.uint8).reshape(2, 3, 4, 3)
    floats = to_float(images)
    assert floats.shape == (2, 3, 3, 4)
    assert floats.dtype == torch.float32
    torch.testing.assert_close(floats[1, 2, 0, 3], images[1, 0, 3, 2] / 255)
    assert to_float(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)).item() == 1.0


def test_noise_hits_the_share_of_pixels_in_equal_parts():
    _, noisy = noise(0.15)
    white, black = (noisy == 1).all(1).float().mean(), (noisy == 0).all(1).float().mean()
    # 20,480 pixels: four standard deviations are 0.0074 of a share of 0.075
    assert abs(white - 0.075) < 0.0075
    assert abs(black - 0.075) < 0.0075


def test_noise_turns_all_channels_together_and_leaves_the_rest_exact():
    images, noisy = noise(0.3)
    changed = noisy != images
    assert (changed.all(1) == changed.any(1)).all()
    assert set(noisy[changed].unique().tolist()) == {0.0, 1.0}


def test_noise_is_a_function_of_the_seed():
    assert torch.equal(noise(0.15, seed=1)[1], noise(0.15, seed=1)[1])
    assert not torch.equal(noise(0.15, seed=1)[1], noise(0.15, seed=2)[1])


def test_noise_of_no_share_changes_nothing_and_of_full_share_everything():
    images, same = noise(0.0)
    assert torch.equal(images, same)
    assert set(noise(1.0)[1].unique().tolist()) == {0.0, 1.0}


def test_noise_keeps_type_and_input():
    images = torch.full((2, 3, 8, 8), 0.5, dtype=torch.bfloat16)
    _, noisy = noise(0.5, images=images)
    assert noisy.dtype == torch.bfloat16
    assert (images == 0.5).all()


def test_removed_noise_is_the_mean_of_the_neighbours_that_are_none():
    image = torch.full((1, 3, 5, 5), 0.5)
    image[0, :, 2, 1:4] = torch.tensor([0.0, 1.0, 0.2])  # a black pixel, a white one beside it, and a dark one
    found = remove_noise(image)
    torch.testing.assert_close(found[0, :, 2, 1], torch.full((3,), 0.5))
    torch.testing.assert_close(found[0, :, 2, 2], torch.full((3,), (6 * 0.5 + 0.2) / 7))
    assert torch.equal(found[0, :, 2, 3], image[0, :, 2, 3])


def test_black_and_white_areas_are_no_noise():
    image = torch.zeros(1, 3, 6, 6)
    image[:, :, :, 3:] = 1
    assert torch.equal(remove_noise(image), image)


def test_removed_noise_leaves_a_hundredth_of_the_error():
    images = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(9)) * 0.8 + 0.1
    images = torch.nn.functional.interpolate(images, size=32, mode="bilinear")
    _, noisy = noise(0.15, images=images)
    error, left = ((one - images).square().mean() for one in (noisy, remove_noise(noisy)))
    assert left < error / 100


def test_moved_images_are_padded_cropped_and_flipped():
    """torchvision's pad, crop and flip, image by image, are the oracle."""
    images = torch.randint(256, (40, 6, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    moves = draw_moves(40, 2, True, torch.Generator().manual_seed(1))
    for image, moved, (down, right, is_flipped) in zip(images, move_images(images, moves), moves.tolist(), strict=True):
        padded = functional.pad(image.permute(2, 0, 1), [2, 2, 2, 2])
        # an image that is moved down shows the rows above it
        expected = functional.crop(padded, 2 - down, 2 - right, 6, 6)
        expected = functional.hflip(expected) if is_flipped else expected
        assert torch.equal(moved.permute(2, 0, 1), expected)


@pytest.mark.parametrize(("crop", "flip"), [(3, False), (0, True), (1, True)])
def test_moves_are_uniform_over_what_is_asked_for(crop, flip):
    moves = draw_moves(6000, crop, flip, torch.Generator().manual_seed(0))
    for column, values in enumerate((range(-crop, crop + 1), range(-crop, crop + 1), range(1 + flip))):
        counts = torch.bincount(moves[:, column] - values.start)
        assert len(counts) == len(values)
        assert (counts - 6000 / len(values)).abs().max() < 5 * (6000 / len(values)) ** 0.5


def test_no_move_draws_nothing():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert draw_moves(5, 0, False, generator) is None
    assert torch.equal(generator.get_state(), before)


def test_turned_images_match_rot90_one_by_one():
    images = torch.rand(7, 3, 5, 5, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    turns = torch.tensor([0, 1, 2, 3, 3, 0, 1])
    for image, turned, turn in zip(images, turn_images(images, turns), turns.tolist(), strict=True):
        assert torch.equal(turned, image.rot90(turn, (1, 2)))


def test_changed_colours_are_those_of_torchvision():
    images = torch.rand(20, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    colours = draw_colours(20, 0.6, torch.Generator().manual_seed(1))
    for image, found, factors in zip(images, change_colours(images, colours), colours.tolist(), strict=True):
        expected = functional.adjust_brightness(image, factors[0])
        expected = functional.adjust_saturation(functional.adjust_contrast(expected, factors[1]), factors[2])
        torch.testing.assert_close(found, expected)


def test_colours_are_uniform_around_one_and_none_are_drawn_without_strength():
    colours = draw_colours(4000, 0.2, torch.Generator().manual_seed(0))
    assert colours.min() >= 0.8
    assert colours.max() <= 1.2
    assert (colours.var(0) - 0.4**2 / 12).abs().max() < 1e-3
    generator = torch.Generator().manual_seed(0)
    assert draw_colours(5, 0.0, generator) is None
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())
