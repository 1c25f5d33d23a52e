"""Painted pictures, against their colours by hand and the grey ones."""

import colorsys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from detaux.config import Config, load_config
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.build import build_shards
from shards.paint import Paint, plan_paint
from shards.principal import Principal

ReadSamples = Callable[[Path], dict[str, Any]]
PARITY = "data.principal={even: [0, 2, 4, 6, 8], odd: [1, 3, 5, 7, 9]}"


def make_labels(classes: int, each: int) -> tuple[Principal, np.ndarray]:
    """Every class `each` times in every split."""
    labels = np.tile(np.repeat(np.arange(classes), each), 3)
    names = np.repeat(["train", "validation", "test"], classes * each)
    return Principal(labels, [str(one) for one in range(classes)], "class"), names


def plan(principal: Principal, names: np.ndarray, *keys: str) -> Paint:
    found = plan_paint(principal, names, load_config(None, ["data.paint.what=hue", *keys]).data)
    assert found is not None
    return found


def test_without_the_key_nothing_is_painted() -> None:
    assert plan_paint(*make_labels(3, 5), DataConfig()) is None


@pytest.mark.parametrize("fraction", [0, 0.5, 0.95, 0.98, 0.99, 0.995, 1])
@pytest.mark.parametrize("classes", [2, 10])
def test_colour_is_that_of_the_class_in_its_share_of_every_class(classes: int, fraction: float) -> None:
    principal, names = make_labels(classes, 400)
    paint = plan(principal, names, f"data.paint.fraction={fraction}")
    assert paint.size == classes
    for split in ("train", "validation"):
        for label in range(classes):
            own = paint.values[(names == split) & (principal.labels == label)]
            assert (own == label).sum() == round(400 * fraction)
            conflicts = own[own != label]
            if len(conflicts) >= 200:  # every other colour, about equally often
                counts = np.delete(np.bincount(conflicts, minlength=classes), label)
                assert counts.min() > 0.4 * len(conflicts) / (classes - 1)


def test_small_classes_share_the_conflicts_of_their_split() -> None:
    principal, names = make_labels(20, 6)
    paint = plan(principal, names, "data.paint.fraction=0.95")
    for split in ("train", "validation"):
        assert ((paint.values != principal.labels) & (names == split)).sum() == 6  # 5 % of 120, which is .3 in a class


def test_colours_of_the_test_split_are_uniform_within_every_class() -> None:
    principal, names = make_labels(7, 100)
    paint = plan(principal, names, "data.paint.fraction=1")
    for label in range(7):
        counts = np.bincount(paint.values[(names == "test") & (principal.labels == label)], minlength=7)
        assert set(counts.tolist()) == {14, 15}


def test_colours_depend_only_on_labels_splits_and_seed() -> None:
    principal, names = make_labels(5, 40)
    first, again, other = (plan(principal, names, f"data.split_seed={seed}") for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_array_equal(first.colours, again.colours)
    assert (first.values != other.values).any()
    assert (first.colours != other.colours).any()


def test_images_without_a_label_have_any_colour() -> None:
    principal = Principal(np.full(3000, -1), ["a", "b", "c"], "class")
    counts = np.bincount(plan(principal, np.full(3000, "train")).values)
    assert counts.min() > 900


@pytest.mark.parametrize("classes", [2, 10, 26])
def test_colour_has_the_hue_of_its_number_with_some_noise(classes: int) -> None:
    paint = plan(*make_labels(classes, 100))
    hues = np.array([colorsys.rgb_to_hsv(*(colour / 255))[0] for colour in paint.colours])
    away = (hues * classes - paint.values + classes / 2) % classes - classes / 2
    assert np.abs(away).max() < 0.5  # nearer to its own hue than to any other
    assert np.abs(away).std() > 0.003 * classes / 10


def paint_one(what: str, grey: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Paint one grey image uint8 [S, S]."""
    paint = Paint(what, 3, np.zeros(2, np.int64), np.array([[9, 9, 9], colour], np.uint8))
    return paint.apply(np.repeat(grey[None, ..., None], 3, axis=3), 1, "toy")[0]


GREY = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
GREY[0, :2] = 0, 255


def test_hue_paints_what_is_bright_and_keeps_the_shape() -> None:
    painted = paint_one("hue", GREY, (255, 51, 0))
    np.testing.assert_array_equal(painted[..., 0], GREY)
    np.testing.assert_array_equal(painted[..., 1], np.rint(GREY / 5))
    assert not painted[..., 2].any()
    assert painted[0, :2].tolist() == [[0, 0, 0], [255, 51, 0]]


def test_background_paints_what_is_dark_and_keeps_the_shape() -> None:
    painted = paint_one("background", GREY, (255, 51, 0))
    assert (painted[..., 0] == 255).all()
    np.testing.assert_allclose(painted[..., 1], GREY + (255.0 - GREY) / 5, atol=0.5)
    np.testing.assert_array_equal(painted[..., 2], GREY)
    assert painted[0, :2].tolist() == [[255, 51, 0], [255, 255, 255]]


def test_corner_paints_a_square_and_leaves_the_rest_and_its_input() -> None:
    before = GREY.copy()
    painted = paint_one("corner", GREY, (1, 2, 3))
    assert (painted[:2, :2] == [1, 2, 3]).all()
    rest = np.ones((16, 16), bool)
    rest[:2, :2] = False
    np.testing.assert_array_equal(painted[rest], np.repeat(GREY[rest][:, None], 3, axis=1))
    np.testing.assert_array_equal(GREY, before)


@pytest.mark.parametrize("what", ["hue", "background"])
def test_pictures_in_colour_are_refused_except_for_a_corner(
    make_config: Callable[..., Config], tmp_path: Path, what: str
) -> None:
    keys = ("data.grid=[2,2,2,2,4,2]", "data.principal=shape")
    with pytest.raises(
        UserError, match=f"data.paint.what={what} paints grey pictures, and shapes3d has pictures in colour"
    ):
        build_shards(make_config("shapes3d", *keys, f"data.paint.what={what}"), tmp_path / "set")
    assert not (tmp_path / "set").exists()
    manifest = build_shards(make_config("shapes3d", *keys, "data.paint.what=corner"), tmp_path / "set")
    assert list(manifest.factors.items())[-1] == ("paint", 4)


def test_painted_digits_are_those_of_scikit_learn_in_the_colour_of_their_factor(
    make_config: Callable[..., Config], tmp_path: Path, read_samples: ReadSamples
) -> None:
    keys = (PARITY, "data.side=8", "data.paint.what=hue", "data.paint.fraction=0.9", "data.grid_fraction=0.5")
    manifest = build_shards(make_config("digits", *keys), tmp_path / "set")
    assert manifest.factors == {"digit": 10, "paint": 2}
    assert (manifest.split["paint"], manifest.split["paint_fraction"]) == ("hue", 0.9)
    digits, follows = load_digits(), []
    for key, (split, label, pixels, factors) in read_samples(tmp_path / "set").items():
        image = np.frombuffer(pixels, np.uint8).reshape(8, 8, 3).astype(int)
        colour = image.reshape(-1, 3)[image.sum(2).argmax()]
        assert (colour[0] > max(colour[1:])) == (factors[1] == 0)  # red, or cyan
        brightest = np.round(digits.images[int(key)] * (255 / 16))
        np.testing.assert_allclose(
            image.max(2), brightest, atol=0.25 * 255
        )  # the noise takes from the brightest channel
        assert np.corrcoef(image.max(2).ravel(), brightest.ravel())[0, 1] > 0.999
        assert factors[0] == digits.target[int(key)]
        follows.append((split, factors[1] == label))
    shares = {
        name: np.mean([same for split, same in follows if split == name]) for name in ("train", "validation", "test")
    }
    assert shares == pytest.approx({"train": 0.9, "validation": 0.9, "test": 0.5}, abs=0.015)


def test_two_painted_sets_are_byte_equal(make_config: Callable[..., Config], tmp_path: Path) -> None:
    keys = ("data.grid=[2,2,2,2,4,2]", "data.paint.what=corner", "data.correlate={wall_hue: 0.8}")
    sums = [
        [shard.sha256 for shard in build_shards(make_config("shapes3d", *keys), tmp_path / name).shards]
        for name in ("first", "second")
    ]
    assert sums[0] == sums[1]


def test_plain_classes_are_a_factor_beside_the_paint(
    make_config: Callable[..., Config], tmp_path: Path, read_samples: ReadSamples
) -> None:
    manifest = build_shards(make_config("digits", "data.side=8", "data.paint.what=background"), tmp_path / "set")
    assert manifest.factors == {"digit": 10, "paint": 10}
    assert all(factors[0] == label for _, label, _, factors in read_samples(tmp_path / "set").values())
