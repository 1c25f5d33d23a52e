"""Images left out, against counts by hand."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detaux.config import load_config
from detaux.config.schema import DataConfig
from detaux.data.schema import read_manifest
from detaux.errors import UserError
from detaux.runtime.record import compute_inputs_hash
from detaux.stages import STAGES
from shards.planted import choose_kept, describe_planted
from shards.principal import Principal
from shards.records import Source

SPLITS = ("train", "validation", "test")


@pytest.fixture
def make_grid(make_source: Callable[..., Source]) -> Callable[..., tuple[Source, Principal, np.ndarray]]:
    """make_grid(copies, wall=3, floor=2): a source of 3 classes with every combination `copies` times in every split."""

    def make(copies: int, **sizes: int) -> tuple[Source, Principal, np.ndarray]:
        factors = {"class": 3, **(sizes or {"wall": 3, "floor": 2})}
        cells = list(itertools.product(*map(range, factors.values()), SPLITS))
        values = np.array([cell[:-1] for cell in cells for _ in range(copies)])
        names = np.array([cell[-1] for cell in cells for _ in range(copies)])
        source = make_source(values[:, 0].tolist(), factors=factors, factor_values=values)
        return source, Principal(values[:, 0], ["a", "b", "c"], "class"), names

    return make


def plant(*keys: str) -> DataConfig:
    return load_config(None, list(keys)).data


def test_without_keys_everything_is_kept(make_grid: Callable[..., Any]) -> None:
    assert choose_kept(*make_grid(2), DataConfig()).all()


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_fraction_is_that_of_every_class_and_split_but_the_test(make_grid: Callable[..., Any], fraction: float) -> None:
    source, principal, names = make_grid(20)
    kept = choose_kept(source, principal, names, plant(f"data.grid_fraction={fraction}"))
    assert kept[names == "test"].all()
    for split, label in itertools.product(SPLITS[:2], range(3)):
        assert kept[(names == split) & (principal.labels == label)].sum() == fraction * 120
    less = choose_kept(source, principal, names, plant(f"data.grid_fraction={fraction / 2}"))
    assert not (less & ~kept).any()


def test_fraction_depends_on_the_seed_and_refuses_to_leave_no_validation_image(make_grid: Callable[..., Any]) -> None:
    source, principal, names = make_grid(4)
    first, again, other = (
        choose_kept(source, principal, names, plant("data.grid_fraction=0.1", f"data.split_seed={seed}"))
        for seed in (1, 1, 2)
    )
    with pytest.raises(UserError, match=r"data.grid_fraction=0.001 .* leave no validation image of toy"):
        choose_kept(source, principal, names, plant("data.grid_fraction=0.001"))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("share", [0, 0.2, 0.5, 0.7, 0.9, 0.99, 1])
def test_factor_follows_the_label_in_its_share_of_every_class(make_grid: Callable[..., Any], share: float) -> None:
    source, principal, names = make_grid(100)  # outside the test, 400 images of a class follow and 800 do not
    kept = choose_kept(source, principal, names, plant(f"data.correlate={{wall: {share}}}"))
    wall, most = (
        source.factor_values[:, 1],
        min(400 / share if share else 1200, 800 / (1 - share) if share < 1 else 1200),
    )
    assert kept[names == "test"].all()
    for label in range(3):
        left = kept & (names != "test") & (principal.labels == label)
        assert left.sum() == int(most + 1e-6)  # as many as the share allows
        assert abs((wall[left] == label).sum() - share * left.sum()) <= 0.5
        for split in SPLITS[:2]:
            part = left & (names == split)
            assert abs((wall[part] == label).sum() - share * part.sum()) <= 1
        others = np.bincount(wall[left], minlength=3)[[value for value in range(3) if value != label]]
        assert abs(int(others[0]) - int(others[1])) < 90  # drawn at random among those that do not follow


def test_value_that_follows_is_the_label_modulo_the_number_of_values(make_grid: Callable[..., Any]) -> None:
    source, principal, names = make_grid(5)
    kept = choose_kept(source, principal, names, plant("data.correlate={floor: 1}")) & (names == "train")
    assert {tuple(row) for row in source.factor_values[kept][:, [0, 2]]} == {(0, 0), (1, 1), (2, 0)}


def test_share_that_fits_exactly_loses_no_image_to_rounding(make_source: Callable[..., Source]) -> None:
    values = np.array([[0, 0]] * 8 + [[0, 1]] * 3 + [[1, 1]] * 7 + [[1, 0]] * 4)
    source = make_source(values[:, 0].tolist(), factors={"class": 2, "wall": 2}, factor_values=values)
    principal = Principal(values[:, 0], ["a", "b"], "class")
    kept = choose_kept(source, principal, np.full(22, "train"), plant("data.correlate={wall: 0.7}"))
    assert np.unique(values[kept], axis=0, return_counts=True)[1].tolist() == [7, 3, 3, 7]


def test_fraction_bounds_what_a_share_keeps(make_grid: Callable[..., Any]) -> None:
    source, principal, names = make_grid(100)
    sizes = [
        choose_kept(source, principal, names, plant(f"data.grid_fraction={fraction}", "data.correlate={wall: 0.5}"))[
            names != "test"
        ].sum()
        for fraction in (0.1, 0.5, 1)
    ]
    assert sizes == [360, 1800, 2400]  # 1,200 of 3,600 follow, so that half of 2,400 do


def test_two_factors_follow_independently_of_each_other(make_grid: Callable[..., Any]) -> None:
    source, principal, names = make_grid(200)
    config = plant("data.correlate={floor: 0.6, wall: 0.7}", "data.grid_fraction=0.25")
    kept = choose_kept(source, principal, names, config) & (names != "test")
    classes, walls, floors = source.factor_values[kept].T
    wall, floor = walls == classes, floors == classes % 2
    assert kept.sum() == 1800
    for mask, share in ((wall, 0.7), (floor, 0.6), (wall & floor, 0.42), (~wall & ~floor, 0.12)):
        assert mask.mean() == pytest.approx(share, abs=0.004)
    swapped = choose_kept(
        source, principal, names, plant("data.correlate={wall: 0.7, floor: 0.6}", "data.grid_fraction=0.25")
    )
    np.testing.assert_array_equal(swapped & (names != "test"), kept)


def test_images_without_a_label_follow_nothing_and_are_thinned(make_grid: Callable[..., Any]) -> None:
    source, principal, names = make_grid(10)
    labels = np.where((principal.labels == 2) & (names == "train"), -1, principal.labels)
    unlabelled = Principal(labels, ["a", "b", "c"], "class")
    kept = choose_kept(source, unlabelled, names, plant("data.correlate={wall: 0.9}", "data.grid_fraction=0.5"))
    assert kept[labels == -1].sum() == 30


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"wal": 0.5}, "names wal, which is no factor of toy that varies beside class; it has wall, floor"),
        ({"one": 0.5}, "names one, which is no factor of toy that varies"),
        ({"class": 0.5}, "names class, which is behind the principal label"),
        ({"wall": 0.9}, "wall=0.9, but wall follows the label in 0 of the images of class b, 80 in all; 0 is the most"),
        (
            {"floor": 0.9},
            "floor=0.9, but floor follows the label in 120 of the images of class a, 120 in all; 1 is the least",
        ),
    ],
)
def test_share_that_cannot_be_given_is_refused_with_what_can(
    make_grid: Callable[..., Any], keys: dict[str, float], message: str
) -> None:
    source, principal, names = make_grid(10, wall=3, floor=2, one=1)
    values = source.factor_values
    missing = (values[:, 0] == 1) & (values[:, 1] == 1)  # class b never has wall 1
    values[(values[:, 0] == 0), 2] = 0  # class a always has floor 0
    source = Source(**{**vars(source), "factor_values": values[~missing], "count": int((~missing).sum())})
    values_of = ", ".join(f"{name}: {share}" for name, share in keys.items())
    with pytest.raises(UserError, match=message):
        choose_kept(
            source,
            Principal(principal.labels[~missing], principal.classes, "class"),
            names[~missing],
            plant(f"data.correlate={{{values_of}}}"),
        )


def test_combination_that_no_image_has_is_refused(make_grid: Callable[..., Any]) -> None:
    source, principal, names = make_grid(10, wall=3)
    twice = np.concatenate([source.factor_values, source.factor_values[:, 1:]], axis=1)  # the floor is always the wall
    source = Source(**{**vars(source), "factors": {"class": 3, "wall": 3, "floor": 3}, "factor_values": twice})
    with pytest.raises(UserError, match=r"none of the images of class a .*\(wall follows, floor does not\)"):
        choose_kept(source, principal, names, plant("data.correlate={wall: 0.5, floor: 0.5}"))


def test_set_of_kept_scenes_has_the_pixels_and_keys_of_the_full_set(
    build: Callable[..., Path], read_samples: Callable[[Path], dict[str, Any]]
) -> None:
    full = read_samples(build("packed"))
    keys = ("data.grid_fraction=0.5", "data.correlate={floor_hue: 0.75}")
    manifest = read_manifest(folder := build("packed", *keys))
    samples = read_samples(folder)
    assert len(samples) < len(full)
    assert all(full[key] == sample for key, sample in samples.items())
    tests = {key for key, sample in full.items() if sample[0] == "test"}
    assert tests == {key for key, sample in samples.items() if sample[0] == "test"}
    assert manifest.class_counts == np.bincount([sample[1] for sample in samples.values()]).tolist()
    assert (manifest.split["grid_fraction"], manifest.split["correlate"]) == (0.5, {"floor_hue": 0.75})
    follows = [sample[3][0] == sample[1] % 2 for sample in samples.values() if sample[0] != "test"]
    assert np.mean(follows) == pytest.approx(0.75, abs=0.04)


def test_hidden_labels_are_a_share_of_the_kept_images(
    build: Callable[..., Path], read_samples: Callable[[Path], dict[str, Any]]
) -> None:
    samples = read_samples(build("packed", "data.grid_fraction=0.5", "data.labelled_fraction=0.5")).values()
    train = [label for split, label, *_ in samples if split == "train"]
    assert 40 <= len(train) <= 46
    assert np.mean(np.array(train) >= 0) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "override",
    [
        "data.grid_fraction=0.5",
        "data.correlate={a: 1}",
        "data.paint.what=hue",
        "data.paint.fraction=1",
        "data.glyphs.copies=1",
    ],
)
def test_planted_keys_repeat_only_the_build(override: str) -> None:
    before, after = load_config(None), load_config(None, [override])
    changed = {name for name in STAGES if compute_inputs_hash(name, before, {}) != compute_inputs_hash(name, after, {})}
    assert changed == {"shards"}  # the others depend on its manifest, which has the keys


def test_manifest_has_every_key_that_plants_something() -> None:
    keys = ("data.grid_fraction=0.5", "data.correlate={a: 1}", "data.paint.what=hue", "data.paint.fraction=0.99")
    assert describe_planted(DataConfig()) == {}
    wanted = {"grid_fraction": 0.5, "correlate": {"a": 1.0}, "paint": "hue", "paint_fraction": 0.99}
    assert describe_planted(plant(*keys)) == wanted
