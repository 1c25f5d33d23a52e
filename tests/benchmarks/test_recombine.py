"""The benchmark of recombined images: its recipes run on every set, and groups are scored as they are named."""

import json

import pytest
import torch

from detaux.config import load_config
from detaux.config.together import check_together


@pytest.fixture
def recombine(load):
    return load("recombine")


def test_every_recipe_is_a_config_that_runs_on_every_set(recombine):
    for one in recombine.SETS.values():
        for _, keys in recombine.RECIPES.values():
            config = load_config(one.preset, [*one.keys, *recombine.CHEAP, *recombine.ALONE, *keys])
            check_together(config)
            assert config.model.conditional
            assert len(config.multitask.methods) == 1


def test_groups_are_classes_with_values_and_the_factor_follows_the_label_modulo_its_values(recombine):
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    values = torch.tensor([0, 1, 1, 1, 0, 0, 0, 1])  # two values, so class 2 is followed by value 0
    is_right = torch.tensor([1, 1, 0, 1, 0, 1, 1, 1]).bool()
    scores = recombine.score_answers(is_right, labels, values, (3, 2))
    assert scores == {"accuracy": 0.75, "apart": 0.5, "worst": 0.0}
    assert recombine.score_answers(is_right, labels, values, (30, 2))["worst"] == 0.75  # only values are groups


def test_table_has_means_and_ranges_over_seeds_without_the_one_used_for_trials(recombine, tmp_path):
    for seed, worst in ((0, 0.9), (1, 0.5), (2, 0.7)):
        row = {"seed": seed, "accuracy": 0.95, "apart": 0.9, "worst": worst, "seconds": 10.0}
        recombine.locate("scenes-90", "plain", seed, tmp_path).write_text(json.dumps(row))
    _, _, line = recombine.make_table(tmp_path)
    assert "| plain | 0.950 (0.950 to 0.950) | 0.900 (0.900 to 0.900) | 0.600 (0.500 to 0.700) | 10 |" in line
