import dataclasses
import json

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from detaux.config import load_config
from detaux.data.split import load_split
from detaux.errors import UserError
from detaux.multitask import train
from detaux.multitask.network import Trial
from detaux.multitask.train import list_trials, run_multitask, select_trial
from shards.build import build_shards

KEYS = (
    "data.source=shapes3d",
    "data.principal=scale",
    "data.grid=[3,3,3,2,2,1]",
    "data.side=16",
    "data.labelled_fraction=0.5",
    "multitask.epochs=2",
    "multitask.seeds=2",
    "multitask.weights=[0.5]",
    "multitask.methods=[stl, hard_sharing, uncertainty]",
    "multitask.controls=[random, rotation]",
    "multitask.head_hidden=16",
    "run.threads=1",
    "run.device=cpu",
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Shards of a small grid and labels.parquet with the floor hue as the discovered task."""
    root = tmp_path_factory.mktemp("inputs")
    config = load_config(None, KEYS)
    build_shards(config, root / "shards")
    split = load_split(root / "shards", "train", config.data, train.select_device(config.run))
    (root / "discover").mkdir()
    labels = split.factors[:, 0].tolist()
    table = pa.table({"key": split.keys, "aux_0": labels, "probability_0": [1.0] * len(labels)})
    parquet.write_table(table, root / "discover" / "labels.parquet")
    return root


def run(inputs, folder, *keys):
    run_multitask(load_config(None, [*KEYS, *keys]), inputs / "shards", inputs / "discover", folder)
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(inputs, folder)


def test_every_trial_is_reported_on_both_splits(finished):
    _, metrics = finished
    named = {(row["method"], row["labels"], row["seed"], row["split"]) for row in metrics["rows"]}
    for split in ("validation", "test"):
        for seed in (0, 1):
            for pair in (
                ("stl", "none"),
                ("hard_sharing", "discovered"),
                ("uncertainty", "discovered"),
                ("hard_sharing", "random"),
                ("hard_sharing", "rotation"),
                ("selected", "discovered"),
            ):
                assert (*pair, seed, split) in named


def test_selected_rows_repeat_the_choice_of_validation(finished):
    _, metrics = finished
    chosen = metrics["chosen"]
    means = {}
    for row in metrics["rows"]:
        if row["split"] == "validation" and row["labels"] in ("none", "discovered") and row["method"] != "selected":
            means.setdefault((row["method"], row["weight"]), []).append(row["accuracy"])
    assert sum(means[chosen["method"], chosen["weight"]]) == max(sum(values) for values in means.values())
    for row in metrics["rows"]:
        if row["method"] == "selected":
            twin = {**row, "method": chosen["method"], "labels": "none" if chosen["method"] == "stl" else "discovered"}
            assert twin in metrics["rows"]


def test_reported_split_is_read_once_after_every_choice(inputs, tmp_path, monkeypatch):
    events = []
    original_load, original_select = train.load_split, train.select_trial
    monkeypatch.setattr(
        train, "load_split", lambda folder, split, *rest: events.append(split) or original_load(folder, split, *rest)
    )
    monkeypatch.setattr(train, "select_trial", lambda *given: events.append("choice") or original_select(*given))
    run(inputs, tmp_path, "multitask.seeds=1", "multitask.controls=[]")
    assert events == ["train", "validation", "choice", "test"]


def test_interrupted_run_ends_like_an_uninterrupted_one(inputs, finished, tmp_path, monkeypatch):
    original = train.train_trial
    calls = []

    def stop_after_three(*given):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(given[0])
        return original(*given)

    monkeypatch.setattr(train, "train_trial", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        run(inputs, tmp_path)
    again = []
    monkeypatch.setattr(train, "train_trial", lambda *given: again.append(given[0]) or original(*given))
    metrics = run(inputs, tmp_path)
    assert not set(calls) & set(again)
    assert metrics["rows"] == finished[1]["rows"]


def test_useless_task_costs_nothing_when_selected():
    config = load_config(None, []).multitask
    rows = [
        {"method": method, "labels": labels, "weight": weight, "seed": seed, "accuracy": accuracy}
        for method, labels, weight, accuracy in (
            ("stl", "none", 0.0, 0.8),
            ("hard_sharing", "discovered", 1.0, 0.7),
            ("hard_sharing", "random", 1.0, 0.95),
        )
        for seed in (0, 1)
    ]
    assert select_trial(rows, config) == ("stl", 0.0)
    assert select_trial(rows, dataclasses.replace(config, select="fixed")) == ("hard_sharing", 1.0)


def test_trials_hold_stl_every_method_and_every_control():
    config = load_config(None, ["multitask.weights=[0.1,1]", "multitask.controls=[random,permuted]"]).multitask
    trials = list_trials(config, [0])
    assert trials[0] == Trial("stl", "none", 0.0, 0)
    assert len(trials) == 1 + 2 + 2 * 2
    assert len(set(trials)) == len(trials)


@pytest.mark.parametrize("key", ["methods=[stl,nddr]", "controls=[shuffled]"])
def test_unknown_method_or_control_is_refused_with_the_known_ones(key):
    config = load_config(None, [f"multitask.{key}"]).multitask
    with pytest.raises(UserError, match="is unknown; allowed are"):
        list_trials(config, [0])
