import colorsys
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from detaux.discover.statistics import GREY, HUES, dither, measure_hue, measure_images, point_at_hue, standardise


@pytest.fixture(scope="module")
def pictures():
    """Eight pictures of noise and one of a single colour."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (8, 12, 10, 3), np.uint8)
    return np.concatenate([noise, np.full((1, 12, 10, 3), (0, 128, 255), np.uint8)])


@pytest.fixture(scope="module")
def measured(pictures):
    return {name: values.numpy() for name, values in measure_images(torch.from_numpy(pictures)).items()}


def test_light_and_colour_match_a_loop(pictures, measured):
    for number, picture in enumerate(pictures / 255.0):
        grey = picture @ np.array(GREY)
        steps = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
        expected = {
            "mean_colour": picture.mean((0, 1)),
            "saturation": (picture.max(2) - picture.min(2)).mean(),
            "brightness": grey.mean(),
            "contrast": grey.std(),
        }
        if number < 8:
            expected["sharpness"] = steps / 2 / grey.std()
        for name, value in expected.items():
            np.testing.assert_allclose(measured[name][number], np.atleast_1d(value), atol=2e-6, err_msg=name)


def test_hue_of_pure_and_mixed_colours_matches_colorsys():
    """The angle of colorsys bends between the six pure colours by at most 1.2 degrees, and agrees at these."""
    random = np.random.default_rng(1)
    for colour in random.random((50, 3)):
        expected = 2 * math.pi * colorsys.rgb_to_hsv(*colour)[0]
        found = float(measure_hue(torch.tensor(colour)[None]))
        assert abs(math.remainder(found - expected, 2 * math.pi)) < math.radians(1.3)
    for number in range(6):
        colour = colorsys.hsv_to_rgb(number / 6, 1, 1)
        found = float(measure_hue(torch.tensor(colour)[None]))
        assert abs(math.remainder(found - number * math.pi / 3, 2 * math.pi)) < 1e-6


def test_grey_has_no_hue_and_red_points_right():
    points = point_at_hue(torch.tensor([[0.5, 0.5, 0.5], [0.51, 0.5, 0.5], [0.5, 0.0, 0.0]]))
    torch.testing.assert_close(points, torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]))


def test_histogram_of_hues_counts_the_chroma_of_each_part(pictures, measured):
    for number, picture in enumerate(pictures / 255.0):
        held = np.zeros(HUES)
        for colour in picture.reshape(-1, 3):
            chroma = colour.max() - colour.min()
            angle = float(measure_hue(torch.tensor(colour)[None]))
            held[round(angle * HUES / (2 * math.pi)) % HUES] += chroma if chroma >= 0.02 else 0
        np.testing.assert_allclose(measured["hue_histogram"][number], held / held.sum(), atol=2e-6)


def test_foreground_is_the_planted_object():
    pictures = np.full((3, 20, 16, 3), (40, 200, 90), np.uint8)
    pictures[0, 4:10, 2:6] = (250, 10, 10)
    pictures[1, 15:20, 12:16] = (30, 30, 230)  # touches two edges; most of the border is still ground
    found = {name: values.numpy() for name, values in measure_images(torch.from_numpy(pictures)).items()}
    is_object = np.array([(picture != (40, 200, 90)).any(2) for picture in pictures])
    np.testing.assert_allclose(found["border_colour"], np.tile(np.array([[40, 200, 90]]) / 255, (3, 1)), atol=2e-6)
    np.testing.assert_allclose(found["foreground_size"][:, 0], is_object.mean((1, 2)), atol=2e-6)
    for number, colour in enumerate([(250, 10, 10), (30, 30, 230)]):
        np.testing.assert_allclose(found["foreground_colour"][number], np.array(colour) / 255, atol=2e-6)
        down, right = ndimage.center_of_mass(is_object[number])
        np.testing.assert_allclose(
            found["foreground_place"][number], [(right + 0.5) / 16, (down + 0.5) / 20], atol=1e-6
        )
    np.testing.assert_allclose(found["foreground_place"][2], 0.5)
    np.testing.assert_allclose(found["foreground_colour"][2], found["border_colour"][2])


def test_picture_of_one_colour_has_no_contrast_sharpness_or_object(measured):
    for name in ("contrast", "sharpness", "foreground_size"):
        np.testing.assert_allclose(measured[name][8], 0, atol=2e-6)


def test_blurred_picture_is_less_sharp():
    random = np.random.default_rng(2)
    sharp = random.integers(0, 256, (1, 32, 32, 3)).astype(float)
    blurred = np.stack([ndimage.gaussian_filter(sharp, (0, sigma, sigma, 0))[0] for sigma in (0, 1, 2)])
    found = measure_images(torch.from_numpy(blurred.astype(np.uint8)))["sharpness"][:, 0]
    assert found[0] > 1.5 * found[1] > 1.5**2 * found[2]


def test_statistic_that_is_constant_up_to_rounding_is_constant():
    random = np.random.default_rng(4)
    picture = random.integers(0, 256, (16 * 16, 3), np.uint8)
    shuffled = np.stack([random.permutation(picture).reshape(16, 16, 3) for _ in range(200)])
    found = measure_images(torch.from_numpy(shuffled))
    for name in ("mean_colour", "brightness", "contrast", "saturation", "hue_histogram"):
        assert (found[name] == found[name][0]).all(), name


def test_grey_pictures_with_one_channel_are_measured_as_three(pictures):
    one = torch.from_numpy(pictures[..., :1].copy())
    expected = measure_images(one.expand(-1, -1, -1, 3))
    for name, values in measure_images(one).items():
        torch.testing.assert_close(values, expected[name])


def test_statistics_in_steps_are_spread_within_their_steps():
    random = np.random.default_rng(5)
    pictures = np.full((300, 10, 20, 3), 90, np.uint8)
    for picture in pictures:
        picture[:, :, 0] = random.integers(40, 44)  # red of the ground; the other channels are constant
        picture[4, 5 : 5 + random.integers(1, 5)] = 255
    images = torch.from_numpy(pictures)
    before = measure_images(images)
    after = dither(before, images.shape, seed=0)
    steps = {"border_colour": [1 / 255] * 3, "foreground_size": [1 / 200], "foreground_place": [1 / 20, 1 / 10]}
    for name, values in before.items():
        if name not in steps:
            assert after[name] is values
            continue
        moved = (after[name] - values) / torch.tensor(steps[name])
        varies = values.amax(0) > values.amin(0)
        assert (moved[:, ~varies] == 0).all()
        assert (moved.abs() <= 0.501).all()
        assert (moved[:, varies].std(0) > 0.25).all()  # that of uniform noise is .29
    assert after["foreground_size"].unique().numel() == 300
    assert before["foreground_size"].unique().numel() == 4
    assert varies.tolist() == [True, False]
    assert torch.equal(dither(before, images.shape, seed=0)["border_colour"], after["border_colour"])
    assert not torch.equal(dither(before, images.shape, seed=1)["border_colour"], after["border_colour"])


def test_standardised_statistics_have_mean_0_and_variance_1_without_constants():
    random = np.random.default_rng(3)
    columns = torch.from_numpy(random.normal(5, 3, (100, 2))).float()
    points = standardise({"first": columns, "constant": torch.full((100, 1), 0.3)})
    assert points.shape == (100, 2)
    torch.testing.assert_close(points.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(points.std(0, correction=0), torch.ones(2))
    assert standardise({"constant": torch.zeros(100, 1)}).shape == (100, 0)
