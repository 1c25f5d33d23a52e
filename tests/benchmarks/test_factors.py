"""The benchmark of hidden factors: its sets are configs that load, and its table has a line for each kept run."""

import json

import pytest

from detaux.config import load_config
from detaux.config.together import check_together


@pytest.fixture
def factors(load):
    return load("factors")


def test_every_set_is_a_config_that_runs_under_every_recipe(factors):
    for _, config, keys in factors.list_runs().values():
        check_together(load_config(config, keys))


def keep(load, folder, name, seed, v_measure, found):
    folder.mkdir(exist_ok=True)
    outcome = load("study").Outcome(
        seed, v_measure, "wall_hue", 0.0, v_measure, 1.0, found, None, "0" * 10, 100.0 + seed
    )
    (folder / f"{name}-seed{seed}.json").write_text(json.dumps(vars(outcome)))


def test_table_has_a_line_for_each_recipe_with_its_seeds_in_order_and_without_the_tuned_one(factors, load, tmp_path):
    for seed, v_measure in ((2, 0.5), (1, 1.0), (factors.TUNED, 0.1)):
        keep(load, tmp_path, "scenes-23-conditional", seed, v_measure, seed)
    head, _, *lines = factors.make_table(tmp_path)
    assert head.count("|") == len(factors.HEAD) + 1
    assert lines == ["| 23 % of the scenes | conditional | 1.00 wall hue, 0.50 wall hue | 1, 2 | 102 |"]


def test_kept_run_is_not_repeated(factors, load, tmp_path, monkeypatch):
    keep(load, tmp_path, "scenes-23-pairs", 1, 0.5, 0)
    monkeypatch.setattr(factors, "run_once", lambda *_: pytest.fail("it ran"))
    factors.run_seed("scenes-23", "pairs", 1, tmp_path / "out", tmp_path)
