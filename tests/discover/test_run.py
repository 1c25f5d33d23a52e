import dataclasses
import json

import numpy as np
import pyarrow.parquet
import pytest
import torch
from sklearn.metrics import v_measure_score

from detaux.config import Config, dump_config, load_config
from detaux.config.choice_rules import CHOICE_RULES
from detaux.config.schema import CrossPredictionConfig, DiscoverConfig, ModelConfig, PairsConfig
from detaux.discover import run
from detaux.disentangle.restarts import list_models, list_restarts
from detaux.errors import NothingFoundError, UserError
from detaux.runtime.record import compute_inputs_hash, hash_inputs, is_done

QUICK = CrossPredictionConfig(rounds=1, steps=60, batch_size=32)
HELD_OUT = ("labels-validation.parquet", "labels-test.parquet")


def open_stage(root, monkeypatch, model, split, write_splits):
    """stage(split, ...): the folder that the stage leaves, below `root`. `others` are the validation and the test split; the
    tars of those that are not given are not there."""

    def stage(split=split, partner="mined", models=(model,), others=(), **keys):
        shards, disentangle, folder = root / "shards", root / "disentangle", root / "discover"
        (disentangle / "checkpoint").mkdir(parents=True, exist_ok=True)
        write_splits(shards, split, *others)
        config = Config(
            pairs=PairsConfig(partner=partner),
            model=ModelConfig(restarts=len(models)),
            discover=DiscoverConfig(**keys),
        )
        dump_config(config, disentangle / "config.yaml")
        files = list_models(disentangle, config)
        for path in files.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"weights")
        lines = [{"step": 1, "pairs/one_factor_share": 0.4}, {"step": 2, "pairs/one_factor_share": 0.9}, {"step": 3}]
        (disentangle / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        places = dict(zip(list_restarts(disentangle, len(models)), models, strict=True))
        monkeypatch.setattr(run, "load_disentangler", lambda place, *_: places[place])
        hashes = hash_inputs({"manifest": shards / "manifest.json", **files})
        stage.inputs_hash = compute_inputs_hash("discover", config, hashes)
        run.run_discover(config, shards, disentangle, folder)
        return folder

    return stage


@pytest.fixture
def stage(tmp_path, monkeypatch, model, make_split, write_splits):
    return open_stage(tmp_path, monkeypatch, model, make_split(), write_splits)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, make_model, make_split, write_splits):
    """The folder of a stage that found the hidden factor, and the hash of its inputs; tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        stage = open_stage(tmp_path_factory.mktemp("finished"), patch, make_model(), make_split(), write_splits)
        return stage(), stage.inputs_hash


def read_labels(folder):
    return pyarrow.parquet.read_table(folder / "labels.parquet")


def test_discover_finds_the_hidden_factor(finished, make_split):
    split = make_split()
    folder, inputs_hash = finished
    found = json.loads((folder / "discovery.json").read_text())
    chosen = found["candidates"][found["chosen"]]
    assert chosen["subspaces"] == [1]
    assert chosen["clusters"] == 5
    assert chosen["factors"]["green"]["v_measure"] > 0.99
    assert chosen["principal"]["nmi"] < 0.05
    assert chosen["relation"] == "unrelated"
    assert found["principal_subspace"]["relation"] == "related"
    assert found["tasks"] == [found["chosen"]]
    assert found["ranking"][0] == found["chosen"]
    assert (found["live_subspaces"], found["free_subspaces"]) == (2, 3)  # the third is dead
    assert found["samples"] == len(split.keys)
    table = found["classes_by_cluster"]
    assert (table["classes"], table["clusters"]) == (["dark", "mid", "light"], [*"01234"])
    assert [sum(row) for row in table["counts"]] == split.labels.bincount().tolist()
    assert is_done(folder, inputs_hash)


def test_labels_agree_with_the_planted_factor_and_not_with_the_principal_one(finished, make_split):
    """By scikit-learn, over the keys of the training split."""
    split = make_split()
    columns = read_labels(finished[0]).to_pydict()
    label_of = dict(zip(columns["key"], columns["aux_0"], strict=True))
    found = [label_of[key] for key in split.keys]
    red, green = split.factors.T.tolist()
    assert v_measure_score(green, found) > 0.99
    assert v_measure_score(red, found) < 0.05


def test_discovery_scores_every_candidate_and_baseline(finished):
    found = json.loads((finished[0] / "discovery.json").read_text())
    assert [one["subspaces"] for one in found["candidates"]] == [[1], [2], [3]]
    assert [one["name"] for one in found["baselines"]] == ["latents", "latents_within_class", "kmeans_latents"]
    names = {"distance", "dot", "invariance", "spread", "oracle_share", "silhouette", "separation", "stability"}
    names |= {"agreement", "validity"}
    assert all(names | {"principal_ami"} == set(one["scores"]) for one in found["candidates"])
    indices = [one["index"] for one in found["candidates"] + found["baselines"]]
    assert indices == list(range(len(indices)))
    dead = found["candidates"][2]
    assert not dead["eligible"]
    assert dead["fault"]["code"] == "dead"
    assert "min_variance_fraction" in dead["fault"]["text"]
    assert found["rule"] == CHOICE_RULES["separation"].to_row()
    assert found["principal_subspace"]["subspaces"] == [0]
    assert found["principal_subspace"]["principal"]["nmi"] > 0.99


def test_discovery_describes_what_passes_and_judges_every_shape(finished):
    """Green has five separate values, and blue is anything: a line, which HDBSCAN cuts. The dead subspace has no shape."""
    found = json.loads((finished[0] / "discovery.json").read_text())
    assert [one["index"] for one in found["passing"]] == [0, 1]
    assert found["passing"][0]["classes_by_cluster"] == found["classes_by_cluster"]
    shapes = [one["shape"] and (one["shape"]["kind"], one["shape"]["parts"]) for one in found["candidates"]]
    assert shapes == [("clusters", 5), ("line", 1), None]
    with np.load(finished[0] / "gallery.npz") as gallery:
        assert set(gallery["passing_of"]) == set(gallery["recombined_of"]) == {0, 1}
        assert set(gallery["ordered_of"]) == {1}
        blue = gallery["ordered"].astype(float).mean((1, 2))[:, 2]
    assert (np.sign(np.diff(blue)) == np.sign(blue[-1] - blue[0])).all()


def test_parts_of_a_line_are_not_chosen_if_continua_are_not_cut(stage):
    found = json.loads((stage(cut_continua=False) / "discovery.json").read_text())
    assert [one["index"] for one in found["passing"]] == [0]
    assert found["candidates"][1]["fault"]["code"] == "cut_through_a_continuum"


def test_labels_hold_every_training_key_once(finished, make_split):
    split = make_split()
    table = read_labels(finished[0])
    assert table.column_names == ["key", "aux_0", "probability_0"]
    assert table["key"].to_pylist() == split.keys
    labels = table["aux_0"].to_numpy()
    green = split.factors[:, 1].numpy()
    assert labels.min() == 0
    assert len(np.unique(np.stack([labels, green], axis=1), axis=0)) == 5
    assert ((table["probability_0"].to_numpy() >= 0) & (table["probability_0"].to_numpy() <= 1)).all()


def test_discover_repeats_itself(finished, stage):
    assert read_labels(stage()).equals(read_labels(finished[0]))


def test_factor_that_follows_the_label_is_chosen_and_called_related(stage, make_split, capsys):
    split = make_split()
    red, green = split.factors.T
    follows = torch.rand(len(green), generator=torch.Generator().manual_seed(0)) < 0.8
    related = dataclasses.replace(split, labels=torch.where(follows, green % 3, red))

    def read_chosen(folder):
        found = json.loads((folder / "discovery.json").read_text())
        return found["candidates"][found["chosen"]]

    chosen = read_chosen(stage(related, stability_samples=0))
    assert (chosen["subspaces"], chosen["relation"]) == ([1], "related")
    assert chosen["principal"]["nmi"] > 0.2
    assert "5 clusters in subspace 1, related to the principal label" in capsys.readouterr().out
    assert read_chosen(stage(related, stability_samples=0, related_nmi=0.9))["relation"] == "unrelated"
    refused = json.loads((stage(related, stability_samples=0, min_unexplained=0.9) / "discovery.json").read_text())
    assert refused["candidates"][0]["fault"]["code"] == "explained_by_the_principal_label"
    assert refused["chosen"] != 0


def test_factors_do_not_change_the_choice(finished, stage, make_split):
    blind = dataclasses.replace(make_split(), factors=None)
    assert read_labels(stage(blind)).equals(read_labels(finished[0]))


@pytest.mark.parametrize("partner", ["mined", "one_factor"])
def test_discovery_says_how_pairs_were_made(partner, stage):
    pairs = json.loads((stage(partner=partner) / "discovery.json").read_text())["pairs"]
    assert pairs == {
        "rule": partner,
        "uses_ground_truth": partner == "one_factor",
        "changes_many_factors": False,
        "one_factor_share": 0.9,
    }


def test_nothing_found_leaves_scores_and_no_labels(stage, make_split):
    folder = stage()
    with pytest.raises(NothingFoundError, match="subspace 1: dead") as error:
        stage(make_split(hidden=1))
    assert error.value.exit_code == 3
    found = json.loads((folder / "discovery.json").read_text())
    assert (found["chosen"], found["tasks"]) == (-1, [])
    assert len(found["candidates"]) == 3
    assert not (folder / "labels.parquet").exists()
    assert not (folder / "record.json").exists()
    assert "traversal" in np.load(folder / "gallery.npz", allow_pickle=False)


def test_encoder_source_clusters_the_entangled_latents(stage):
    found = json.loads((stage(sources=["encoder"], clusterer="kmeans") / "discovery.json").read_text())
    assert found["sources"] == ["encoder"]
    assert [one["subspaces"] for one in found["candidates"]] == [[]]


def test_sources_without_a_disentangler_join_the_choice(stage, make_split, model):
    found = json.loads(
        (stage(sources=["statistics", "subspace"], models=(model, model)) / "discovery.json").read_text()
    )
    assert found["sources"] == ["statistics", "subspace"]
    rows = {one["name"]: one for one in found["candidates"] if one.get("source") == "statistics"}
    assert {one["restart"] for one in rows.values()} == {None}
    assert rows["mean_colour"]["subspaces"] == []
    assert len(rows) == sum(
        one.get("source") == "statistics" for one in found["candidates"]
    )  # once, not for each restart
    assert set(found["ranking"]) >= {one["index"] for one in rows.values() if one["eligible"]}


def test_rule_may_pick_a_baseline_where_asked(stage):
    folder = stage(include_baselines=True, min_variance_fraction=0.9)
    found = json.loads((folder / "discovery.json").read_text())
    chosen = next(one for one in found["baselines"] if one["index"] == found["chosen"])
    assert read_labels(folder)["aux_0"].to_numpy().max() + 1 >= chosen["clusters"]


@pytest.fixture
def others(make_split):
    """A validation and a test split of the images with two hidden values."""
    return make_split(30, hidden=2, seed=1), make_split(50, hidden=2, seed=2)


def test_labels_are_those_of_cross_prediction_where_it_keeps_a_round(stage, make_split, others):
    split = make_split(hidden=2)
    folder = stage(split, others=others, stability_samples=0, cross_prediction=QUICK)
    found = json.loads((folder / "discovery.json").read_text())
    chosen = found["candidates"][found["chosen"]]
    assert chosen["cross_prediction"]["kept_round"] == 1
    assert chosen["scores"]["cross_agreement"] > 0.9
    columns = read_labels(folder)
    assert columns["aux_0"].to_numpy().max() == 1  # no outlier is left
    assert v_measure_score(split.factors[:, 1], columns["aux_0"].to_numpy()) > 0.95
    assert 0.2 < columns["probability_0"].to_numpy().min() < 1  # a mean of two networks
    dead = found["candidates"][2]
    assert dead["scores"]["cross_agreement"] is None


def test_labels_of_other_splits_agree_with_the_planted_factor_and_with_the_training_labels(stage, make_split, others):
    split = make_split(hidden=2)
    folder = stage(split, others=others, stability_samples=0, cross_prediction=QUICK)
    value_of = dict(zip(read_labels(folder)["aux_0"].to_pylist(), split.factors[:, 1].tolist(), strict=True))
    for name, one in zip(("validation", "test"), others, strict=True):
        table = pyarrow.parquet.read_table(folder / f"labels-{name}.parquet")
        assert table.column_names == ["key", "aux_0", "probability_0"]
        assert table["key"].to_pylist() == one.keys
        values = [value_of[label] for label in table["aux_0"].to_pylist()]
        assert np.mean(np.array(values) == one.factors[:, 1].numpy()) > 0.95
    assert is_done(folder, stage.inputs_hash)
    assert {"labels.parquet", *HELD_OUT} < set(json.loads((folder / "record.json").read_text())["outputs"])


def test_test_images_change_no_training_label_and_a_second_run_gives_the_same_bytes(stage, make_split, others):
    split, names = make_split(hidden=2), ("labels.parquet", *HELD_OUT)

    def run_again(test):
        folder = stage(split, others=(others[0], test), stability_samples=0, cross_prediction=QUICK)
        return [(folder / name).read_bytes() for name in names]

    first, second = run_again(others[1]), run_again(others[1])
    assert first == second
    other = run_again(make_split(20, hidden=2, seed=3))
    assert other[:2] == first[:2]
    assert other[2] != first[2]


def test_without_cross_prediction_there_are_no_labels_of_other_splits(stage, make_split, others):
    folder = stage(make_split(hidden=2), others=others)
    for name in HELD_OUT:
        (folder / name).write_bytes(b"of an older run")
    stage(make_split(hidden=2))  # the tars of the other splits are not there
    assert not any((folder / name).exists() for name in HELD_OUT)


def test_split_that_cannot_be_read_ends_the_stage_before_the_search(stage, make_split, monkeypatch):
    monkeypatch.setattr(run, "search", None)
    with pytest.raises(UserError, match=r"of 8 samples in the validation split .* cannot be read"):
        stage(make_split(hidden=2), cross_prediction=QUICK)


def test_several_tasks_become_several_columns(stage):
    folder = stage(clusterer="kmeans", clusters=5, tasks=2)
    tasks = json.loads((folder / "discovery.json").read_text())["tasks"]
    assert len(tasks) == 2
    assert read_labels(folder).column_names == ["key", "aux_0", "probability_0", "aux_1", "probability_1"]


class Blurred(torch.nn.Module):
    """A model that tells the values of the hidden factor less apart."""

    def __init__(self, model, factor):
        super().__init__()
        self.model, self.factor = model, factor
        self.alpha, self.num_subspaces = model.alpha, model.num_subspaces

    def encode(self, images_NCHW):
        return self.model.encode(images_NCHW)

    def project(self, latents_ND):
        subspaces_NKD = self.model.project(latents_ND)
        generator = torch.Generator().manual_seed(0)
        subspaces_NKD[:, 1] += self.factor * torch.randn(subspaces_NKD[:, 1].shape, generator=generator)
        return subspaces_NKD

    def select_free(self, latents_ND):
        return self.model.select_free(latents_ND)

    def decode(self, latents_ND):
        return self.model.decode(latents_ND)


def test_task_comes_from_the_restart_that_separates_best(stage, model):
    folder = stage(models=(Blurred(model, 0.1), model))
    found = json.loads((folder / "discovery.json").read_text())
    chosen = found["candidates"][found["chosen"]]
    assert (chosen["restart"], chosen["subspaces"], chosen["clusters"]) == (1, [1], 5)
    assert found["restarts"] == 2
    assert found["disentangle"] == "disentangle/restart_1"
    assert found["principal_subspace"]["restart"] == 1
    assert {one["restart"] for one in found["candidates"]} == {0, 1}


def test_agreement_is_how_well_another_restart_found_the_same_clusters(finished, stage, model):
    candidates = json.loads((stage(models=(model, model)) / "discovery.json").read_text())["candidates"]
    assert all(one["scores"]["agreement"] == 1 for one in candidates if one["clusters"] > 1)
    alone = json.loads((finished[0] / "discovery.json").read_text())["candidates"]
    assert all(one["scores"]["agreement"] is None for one in alone)


@pytest.mark.parametrize(("steps", "rule"), [(5, "one_factor"), (0, "none")])
def test_pairs_that_no_phase_trained_on_are_not_reported(steps, rule, tmp_path):
    keys = ["pairs.partner=one_factor", f"disentangle.main.steps={steps}"]
    dump_config(load_config(None, keys), tmp_path / "config.yaml")
    found = run.describe_pairs(tmp_path)
    assert found["rule"] == rule
    assert found["uses_ground_truth"] == (steps > 0)
