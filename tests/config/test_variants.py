"""Variants of discovery, expanded from the keys that ask for them."""

import re
from pathlib import Path

import pytest

from detaux.config import load_config
from detaux.config.load import change_config, check_together
from detaux.config.variants import drop_comparisons, list_variants
from detaux.errors import UserError

ASKED = (
    "multitask.discovery_seeds=[3, 1]",
    "multitask.discovery_clusterers=[kmeans++]",
    "multitask.controls=[random, entangled]",
)


def test_variants_are_the_asked_ones_in_their_order():
    assert [(one.name, one.labels, dict(one.changes)) for one in list_variants(load_config(None, ASKED).multitask)] == [
        ("seed3", "discovered@seed3", {"run.seed": 3}),
        ("seed1", "discovered@seed1", {"run.seed": 1}),
        ("kmeans++", "discovered@kmeans++", {"discover.clusterer": "kmeans++"}),
        ("entangled", "entangled", {"discover.source": "encoder", "discover.include_baselines": False}),
    ]


def test_defaults_ask_for_no_variant():
    assert list_variants(load_config(None).multitask) == []


def test_names_of_variants_are_names_of_files_and_differ():
    variants = list_variants(load_config(None, ASKED).multitask)
    names = [name for one in variants for name in (one.name, one.labels, one.input)]
    assert all(re.fullmatch(r"[\w@+]+", name) for name in names)
    assert len({one.locate(Path("run")) for one in variants}) == len(variants)
    assert variants[0].locate(Path("run")) == Path("run/variants/seed3")


def test_changes_of_a_variant_are_values_that_a_config_takes():
    config = load_config(None, ASKED)
    for one in list_variants(config.multitask):
        assert change_config(config, one.changes, one.name) != config


def test_settings_without_comparisons_have_no_variant_and_no_control():
    config = load_config(None, [*ASKED, "multitask.epochs=3"]).multitask
    assert list_variants(drop_comparisons(config)) == []
    assert drop_comparisons(config).controls == []
    assert drop_comparisons(config).epochs == 3


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (["run.seed=3"], "the discovery seed3 (run.seed=3), which is the run's own"),
        (["discover.clusterer=kmeans++"], "(discover.clusterer=kmeans++), which is the run's own"),
        (["multitask.discovery_seeds=[1, 1]"], "asks twice for the discovery seed1 (run.seed=1)"),
        (["discover.source=encoder"], "the discovery entangled (discover.source=encoder"),
        (["multitask.weights=[]", "multitask.methods=[stl]", "multitask.controls=[]"], "multitask.weights is empty"),
    ],
)
def test_variant_that_repeats_a_discovery_is_refused(keys, sentence):
    check_together(load_config(None, ASKED))
    with pytest.raises(UserError, match=re.escape(sentence)):
        check_together(load_config(None, [*ASKED, *keys]))


@pytest.mark.parametrize("key", ["multitask.discovery_seeds=[-1]", "multitask.discovery_clusterers=[ward]"])
def test_value_that_no_discovery_takes_is_refused(key):
    with pytest.raises(UserError, match="expected list of"):
        load_config(None, [key])
