import torch

from detaux.data.augment import add_noise, to_float


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
