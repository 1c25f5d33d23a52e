"""The benchmark of hidden factors: its recipes run on every set, and its table has a line for each kept recipe."""

import json

import numpy as np
import pytest

from detaux.config import load_config
from detaux.config.together import check_together
from detaux.data.schema import Manifest, write_manifest
from shards.build import build_shards


@pytest.fixture
def factors(load):
    return load("factors")


@pytest.fixture
def clusterings(load):
    return load("clusterings")


def test_every_recipe_is_a_config_that_runs_on_every_set(factors):
    for one in factors.SETS.values():
        for recipe in factors.RECIPES.values():
            check_together(load_config(recipe.select_config(one), [*one.keys, *recipe.keys]))


def test_recipes_that_differ_only_in_discovery_share_their_training(factors):
    for one in factors.SETS.values():
        names = {recipe: plan.name_training(one) for recipe, plan in factors.RECIPES.items()}
        assert names["everything"] == names["parts"]
        assert len({names[recipe] for recipe in ("everything", "pairs", "paper", "official")}) == 4


def keep(factors, folder, recipe, seed, **changes):
    row = {"seed": seed, "score": 1.0, "factor": "wall_hue", "found": {"wall_hue": 1.0, "shape": 0.2}, "seconds": 100.0}
    row["clusters"] = 5
    factors.locate("scenes-23", recipe, seed, folder).write_text(json.dumps(row | changes))


def test_table_has_a_line_for_each_recipe_with_its_seeds_in_order_and_without_the_tuned_one(factors, tmp_path):
    keep(factors, tmp_path, "default", 2, score=0.5, found={"wall_hue": 0.5}, seconds=102)
    for seed in (1, *factors.SETS["scenes-23"].tuned):
        keep(factors, tmp_path, "default", seed)
    keep(factors, tmp_path, "kmeans", 1)
    head, _, *lines = factors.make_table(tmp_path)
    assert head.count("|") == len(factors.HEAD) + 1
    assert lines == [
        "| 23 % of the scenes | Detaux, the set's preset | 1.00 wall hue (5), 0.50 wall hue (5) | 1, 0 | 101 |",
        "| 23 % of the scenes | K-means, given k | 1.00 wall hue (5) | 1 | 100 |",
    ]


def test_kept_run_is_not_repeated(factors, tmp_path, monkeypatch):
    keep(factors, tmp_path, "pairs", 1)
    monkeypatch.setattr(factors, "run_recipe", lambda *_: pytest.fail("it ran"))
    factors.run_set("scenes-23", ["pairs"], 1, tmp_path / "out", tmp_path)


def test_best_of_some_clusterings_counts_for_each_factor_and_outliers_are_a_cluster(clusterings):
    factors = {"size": np.arange(12) % 2, "hue": np.arange(12) % 3}
    found = [np.zeros(12, int), factors["size"], np.where(factors["hue"] == 0, -1, factors["hue"])]
    row = clusterings.score_labels(found, factors, np.arange(12) // 6, "v")
    assert row["found"] == pytest.approx({"size": 1.0, "hue": 1.0})
    assert row["score"] == pytest.approx(1.0)


def test_every_clustering_finds_groups_that_lie_apart(clusterings):
    group_N = np.arange(300) % 3
    points_NF = np.eye(3)[group_N] * 10 + np.random.default_rng(0).normal(0, 0.1, (300, 3))
    for name, (_, cluster) in clusterings.CLUSTERINGS.items():
        found = list(cluster(points_NF, [3], lambda _: points_NF, 0))
        row = clusterings.score_labels(found, {"group": group_N}, group_N, "ami")
        assert row["score"] == pytest.approx(1.0), name


def test_discovery_is_scored_by_its_choice_and_by_all_candidates_without_a_fault(factors, tmp_path):
    def candidate(index, size, letter):
        scores = {
            name: {"v_measure": value, "ami": 0.0} for name, value in (("size", size), ("letter", letter), ("font", 1))
        }
        return {"index": index, "factors": scores, "clusters": 2 + index, "source": "graph", "principal": {"nmi": 0.1}}

    candidates = [candidate(0, 0.3, 0.95), candidate(1, 0.8, 0.0), candidate(2, 1.0, 0.0)]
    discovery = {"candidates": candidates, "baselines": [], "chosen": 1, "ranking": [1, 0], "seconds": 3.0}
    record = {"seconds": 4.0, "commit": "c"}
    factors_of = {"letter": 2, "size": 2, "font": 4}
    manifest = Manifest("drawn", "packed", 8, 3, ["a", "b"], "letter", factors_of, {}, [])
    write_manifest(tmp_path, manifest)
    for name, content in (("discover/discovery.json", discovery), ("disentangle/record.json", record)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(json.dumps(content))
    found = factors.read_discovery(tmp_path, tmp_path, "v")
    assert found["found"] == {"size": 0.8}  # not the principal label, and not the third, which has a fault
    assert (found["score"], found["factor"], found["clusters"], found["seconds"]) == (0.8, "size", 3, 7.0)
    (tmp_path / "discover/discovery.json").write_text(json.dumps(discovery | {"chosen": -1, "ranking": []}))
    found = factors.read_discovery(tmp_path, tmp_path, "v")
    assert (found["score"], found["factor"], found["found"]) == (0.0, "none", {"size": 0.0})


def test_clusterings_of_a_set_leave_out_the_principal_label(clusterings, tmp_path):
    keys = ["data.grid=[5,5,1,4,2,1]", "data.side=16", "data.test_fraction=0.2", "data.validation_fraction=0.1"]
    build_shards(load_config("configs/quickstart.yaml", keys), tmp_path)
    rows = clusterings.run_clusterings("configs/quickstart.yaml", keys, tmp_path, 0, "v", ["kmeans"])
    assert set(rows) == {"kmeans"}
    assert "scale" not in rows["kmeans"]["found"]
