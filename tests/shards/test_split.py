from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.datasets.shapes3d import open_shapes3d
from shards.principal import choose_principal
from shards.records import Records, Source
from shards.split import describe_mixing, split_samples

MakeSource = Callable[..., Source]
MakeData = Callable[..., DataConfig]


def split(source: Source, config: DataConfig) -> np.ndarray:
    return split_samples(source, choose_principal(source, "class"), config)


def test_random_split_takes_the_same_share_of_every_class(make_source: MakeSource, make_data: MakeData) -> None:
    labels = np.repeat([0, 1, 2], [100, 200, 40])
    names = split(make_source(labels.tolist()), make_data("digits"))
    for label, size in ((0, 100), (1, 200), (2, 40)):
        of_class = names[labels == label]
        assert (of_class == "test").sum() == size // 4
        assert (of_class == "validation").sum() == round(0.1 * size * 3 / 4)
        assert (of_class == "train").sum() == size - size // 4 - round(0.1 * size * 3 / 4)


def test_split_depends_on_its_own_seed_alone(make_source: MakeSource, make_data: MakeData) -> None:
    source = make_source([0, 1] * 50)
    first = split(source, make_data("digits"))
    assert (first == split(source, make_data("digits", "run.seed=9"))).all()
    assert (first != split(source, make_data("digits", "data.split_seed=9"))).any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(3, 12), min_size=2, max_size=5), st.floats(0, 0.9), st.floats(0, 0.9))
def test_class_of_three_or_more_has_a_sample_in_every_split_asked_for(
    sizes: list[int], test_fraction: float, validation_fraction: float
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    source = Source(
        name="toy",
        factors={"class": len(sizes)},
        value_names={"class": [str(label) for label in range(len(sizes))]},
        default_principal="class",
        count=len(labels),
        factor_values=labels[:, None],
        published_split=None,
        read=lambda: iter([Records(np.zeros((len(labels), 16, 16, 3), np.uint8))]),
    )
    names = split(source, DataConfig(test_fraction=test_fraction, validation_fraction=validation_fraction))
    asked = {"train", *(["test"] if test_fraction else []), *(["validation"] if validation_fraction else [])}
    for label in range(len(sizes)):
        assert set(names[labels == label]) == asked


def test_class_with_too_few_samples_is_refused_by_name(make_source: MakeSource, make_data: MakeData) -> None:
    source = make_source([0] * 10 + [1, 1])
    with pytest.raises(UserError, match=r"class c1 of toy has 2 samples .* 3 are needed"):
        split(source, make_data("folder"))
    assert sorted(split(make_source([0] * 10 + [1, 1, 1]), make_data("folder"))[-3:]) == ["test", "train", "validation"]


def test_samples_without_a_label_are_for_training_and_change_no_other(
    make_source: MakeSource, make_data: MakeData
) -> None:
    labels = [0, 1] * 20
    names = split(make_source([*labels, *[-1] * 9]), make_data("folder"))
    assert set(names[40:]) == {"train"}
    assert (names[:40] == split(make_source(labels), make_data("folder"))).all()


def test_published_split_is_kept_and_validation_comes_from_its_training_part(
    make_source: MakeSource, make_data: MakeData
) -> None:
    published = ["train"] * 40 + ["test"] * 20
    names = split(make_source([0, 1] * 30, published), make_data("digits", "data.split=published"))
    assert (names[40:] == "test").all()
    assert (names[:40] == "validation").sum() == 4
    assert (names[:40] == "test").sum() == 0


@pytest.mark.parametrize("published", ["validation", "test"])
def test_part_that_is_not_published_is_drawn_from_the_training_part(
    make_source: MakeSource, make_data: MakeData, published: str
) -> None:
    source = replace(make_source([0, 1] * 50), published_split=np.repeat(["train", published], 50))
    names = split(source, make_data("digits", "data.split=published"))
    assert (names[50:] == published).all()
    assert set(names[:50]) == {"train", "validation", "test"} - {published}


def test_published_split_without_one_is_refused(make_source: MakeSource, make_data: MakeData) -> None:
    with pytest.raises(UserError, match="no published split"):
        split(make_source([0, 1] * 9), make_data("digits", "data.split=published"))


def test_combination_split_holds_out_pairs_of_floor_and_wall_hue(make_data: MakeData) -> None:
    config = make_data("shapes3d", "data.split=combination", "data.grid=[10,10,1,8,1,1]")
    source = open_shapes3d(config)
    names = split(source, config)
    floor, wall = source.factor_values[:, 0], source.factor_values[:, 1]
    assert (names == "test").mean() == 0.25
    np.testing.assert_array_equal(names == "test", (floor >= 5) & (wall >= 5))
    assert set(floor[names == "train"]) == set(wall[names == "train"]) == set(range(10))


@pytest.mark.parametrize("grid", ["[1,4,1,4,4,1]", "[4,1,1,4,4,1]"])
def test_combination_split_without_pairs_is_refused(make_data: MakeData, grid: str) -> None:
    config = make_data("shapes3d", "data.split=combination", f"data.grid={grid}")
    with pytest.raises(UserError, match="two floor hues"):
        split(open_shapes3d(config), config)


def test_combination_split_of_another_dataset_is_refused(make_source: MakeSource, make_data: MakeData) -> None:
    with pytest.raises(UserError, match="floor_hue"):
        split(make_source([0, 1] * 9), make_data("digits", "data.split=combination"))


def make_groups(make_source: MakeSource, sizes: list[int]) -> Source:
    """A source of two classes and a group for each of `sizes`."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    source = make_source([0, 1] * (len(groups) // 2))
    return replace(
        source,
        factors={**source.factors, "person": len(sizes)},
        value_names={**source.value_names, "person": [str(number) for number in range(len(sizes))]},
        factor_values=np.stack([source.factor_values[:, 0], groups], axis=1),
        group="person",
    )


def test_group_split_takes_shares_of_whole_groups(make_source: MakeSource, make_data: MakeData) -> None:
    source = make_groups(make_source, [4, 8] * 10)
    config = make_data("digits", "data.split=group", "data.test_fraction=0.2", "data.validation_fraction=0.25")
    names = split(source, config)
    groups = source.factor_values[:, 1]
    found = [set(names[groups == group]) for group in range(20)]
    assert all(len(one) == 1 for one in found)
    counts = {name: sum(one == {name} for one in found) for name in ("train", "validation", "test")}
    assert counts == {"train": 12, "validation": 4, "test": 4}
    assert (names == split(source, config)).all()
    other = make_data("digits", "data.split=group", "data.test_fraction=0.2", "data.split_seed=1")
    assert (names != split(source, other)).any()


def test_group_split_leaves_a_group_for_each_part_or_is_refused(make_source: MakeSource, make_data: MakeData) -> None:
    largest = make_data("digits", "data.split=group", "data.test_fraction=0.9", "data.validation_fraction=0.9")
    assert set(split(make_groups(make_source, [4] * 3), largest)) == {"train", "validation", "test"}
    with pytest.raises(UserError, match="toy has 2 of person; three are needed"):
        split(make_groups(make_source, [4] * 2), largest)
    with pytest.raises(UserError, match="toy has no groups, as faces has persons"):
        split(make_source([0, 1] * 9), make_data("digits", "data.split=group"))


def test_mixing_is_what_the_splits_show_by_hand(make_source: MakeSource) -> None:
    names = np.array(["train", "train", "validation", "test", "test", "train"])
    source = make_source([0, 1] * 3, ["train", "test", "test", "test", "train", "test"])
    sentence = describe_mixing(source, choose_principal(source, "class"), names, "random")
    assert sentence == (
        "data.split=random puts 2 published test images of toy into training; data.split=published keeps them for the test."
    )
    source = make_groups(make_source, [2, 2, 2])  # 0 0 1 1 2 2
    sentence = describe_mixing(source, choose_principal(source, "class"), names, "random")
    assert sentence == (
        "data.split=random puts the same person of toy into training and test, 1 of 3; data.split=group keeps each person "
        "in one split."
    )
    assert describe_mixing(source, choose_principal(source, "person"), names, "random") is None


@pytest.mark.parametrize("rule", ["published", "group"])
def test_split_that_keeps_apart_mixes_nothing(make_source: MakeSource, make_data: MakeData, rule: str) -> None:
    published = make_source([0, 1] * 30, ["train"] * 40 + ["test"] * 20)
    source = published if rule == "published" else make_groups(make_source, [6] * 10)
    principal, config = choose_principal(source, "class"), make_data("digits", f"data.split={rule}")
    assert describe_mixing(source, principal, split_samples(source, principal, config), rule) is None
    random = split_samples(source, principal, make_data("digits"))
    assert f"data.split={rule} keeps" in str(describe_mixing(source, principal, random, "random"))


def test_group_cannot_be_the_principal_label(make_source: MakeSource, make_data: MakeData) -> None:
    source = make_groups(make_source, [4] * 5)
    with pytest.raises(UserError, match="keeps each person in one split"):
        split_samples(source, choose_principal(source, "person"), make_data("digits", "data.split=group"))


def test_group_split_without_a_class_to_train_on_is_refused(make_source: MakeSource, make_data: MakeData) -> None:
    source = make_groups(make_source, [2] * 5)
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    source = replace(
        source, factors={"class": 5, "person": 5}, factor_values=np.stack([labels, source.factor_values[:, 1]], axis=1),
        value_names={**source.value_names, "class": list("abcde")},
    )  # fmt: skip
    with pytest.raises(UserError, match="has 0 samples to train on"):
        split(source, make_data("digits", "data.split=group"))
