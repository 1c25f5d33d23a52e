import torch

from detaux.data.augment import add_noise, remove_noise, to_float


def noise(share, seed=0, images=None):
    images = (
        torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(9)) * 0.8 + 0.1 if images is None else images
    )
    return images, add_noise(images, share, torch.Generator().manual_seed(seed))


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
