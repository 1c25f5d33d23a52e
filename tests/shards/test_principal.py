from collections.abc import Callable

import numpy as np
import pytest

from detaux.errors import UserError
from shards.principal import choose_principal
from shards.records import Source

MakeSource = Callable[..., Source]


@pytest.fixture
def source(make_source: MakeSource) -> Source:
    values = np.array([[0, 1], [1, 0], [2, 1], [2, 0]])
    names = {"class": ["cat", "dog", "owl"], "light": ["day", "night"]}
    return make_source([0, 1, 2, 2], factors={"class": 3, "light": 2}, value_names=names, factor_values=values)


def test_class_is_the_main_factor_of_the_source(source: Source) -> None:
    principal = choose_principal(source, "class")
    assert principal.labels.tolist() == [0, 1, 2, 2]
    assert principal.classes == ["cat", "dog", "owl"]


def test_factor_name_gives_its_value_index(source: Source) -> None:
    principal = choose_principal(source, "light")
    assert principal.labels.tolist() == [1, 0, 1, 0]
    assert principal.classes == ["day", "night"]


def test_factor_of_a_single_value_is_refused(make_source: MakeSource) -> None:
    with pytest.raises(UserError, match="class has a single value"):
        choose_principal(make_source([0, 0, 0]), "class")


@pytest.mark.parametrize("owl", ["owl", 2, "2"])
def test_mapping_places_old_classes_by_name_or_index(source: Source, owl: str | int) -> None:
    principal = choose_principal(source, {"pet": ["dog", "cat"], "wild": [owl]})
    assert principal.labels.tolist() == [0, 0, 1, 1]
    assert principal.classes == ["pet", "wild"]
    assert principal.name == "class"


@pytest.mark.parametrize("principal", ["class", {"wild": ["owl"], "pet": ["cat", "dog"]}])
def test_sample_without_a_label_keeps_none(source: Source, principal: object) -> None:
    source.factor_values[1, 0] = -1
    assert (choose_principal(source, principal).labels < 0).tolist() == [False, True, False, False]
    assert choose_principal(source, principal).labels.min() == -1


@pytest.mark.parametrize(
    ("principal", "message"),
    [
        ("colour", "'colour' is no factor of toy; it has class, light"),
        (7, "7 is no factor"),
        ({"pet": ["cat", "dog"], "wild": ["fox"]}, "'fox'.*cat, dog, owl"),
        ({"pet": ["cat", "dog"], "wild": [3]}, "3 of class 'wild'"),
        ({"pet": ["cat"], "wild": ["owl"]}, "leaves out class dog"),
        ({"pet": ["cat", "dog"], "wild": ["02"]}, "'02' of class 'wild'"),
        ({"pet": ["cat", "dog"], "wild": ["dog", "owl"]}, "'dog' occurs twice"),
        ({"pet": ["cat", "dog"], "wild": ["1", "owl"]}, r"'dog' \('1' is taken as its number\) occurs twice"),
        ({"all": ["cat", "dog", "owl"]}, "has 1 classes"),
        ({}, "has 0 classes"),
    ],
)
def test_impossible_principal_is_refused_in_a_sentence(source: Source, principal: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        choose_principal(source, principal)
    assert "\n" not in str(refused.value)
