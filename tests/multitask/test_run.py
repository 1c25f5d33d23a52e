import json
import os
import signal
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch

from detaux.config import load_config
from detaux.errors import InterruptedRunError, UserError
from detaux.multitask import material, train
from detaux.multitask import run as stage
from detaux.multitask.methods import METHODS, register
from detaux.multitask.methods.hard_sharing import HardSharing
from detaux.multitask.methods.maxl import Maxl
from detaux.multitask.run import run_multitask
from detaux.report.effect import find_effect


@pytest.fixture
def learn(make_split, write_splits, tmp_path):
    """learn(change): accuracies of a classifier of images whose red is the class and whose green is the auxiliary task, once
    `change(splits)` has edited their classes; by split, and "auxiliary" on the training images."""

    def train_on(change):
        counts = {"train": 300, "validation": 120, "test": 120}
        splits = {name: make_split(count, 3, seed) for seed, (name, count) in enumerate(counts.items())}
        change(splits)
        write_splits(tmp_path / "shards", **splits)
        (tmp_path / "discover").mkdir()
        table = pa.table({"key": splits["train"].keys, "aux_0": splits["train"].factors[:, 1].tolist()})
        parquet.write_table(table, tmp_path / "discover" / "labels.parquet")
        keys = ("methods=[hard_sharing]", "weights=[1]", "controls=[]", "select=fixed", "seeds=1")
        keys += ("epochs=6", "lr=0.005", "dropout=0", "head_hidden=32")
        config = load_config(None, ["run.threads=1", *(f"multitask.{key}" for key in keys)])
        run_multitask(
            config, tmp_path / "shards", tmp_path / "discover", tmp_path / "disentangle", tmp_path / "multitask"
        )
        metrics = json.loads((tmp_path / "multitask" / "metrics.json").read_text())
        found = {row["split"]: row["accuracy"] for row in metrics["rows"] if row["method"] == "hard_sharing"}
        return {**found, "auxiliary": metrics["tasks"][1]["accuracy_mean"]}

    return train_on


def test_classifier_learns_the_labels_of_the_training_split_and_not_those_of_the_test_split(learn):
    """Where a class of the test split has the name of the next one, what is right on validation is wrong there."""
    found = learn(lambda splits: splits["test"].labels.add_(1).remainder_(3))
    assert found["validation"] > 0.9
    assert found["test"] < 0.1
    assert found["auxiliary"] > 0.9


def test_classifier_of_permuted_labels_guesses(learn):
    def permute(splits):
        labels = splits["train"].labels
        labels.copy_(labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))])

    found = learn(permute)
    assert max(found["validation"], found["test"]) < 0.5  # by chance 1/3


def drop_seconds(rows):
    """Rows without the one number that differs from run to run."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


class MyOwn(HardSharing):
    """A method of somebody else's file, whose name no config takes."""


def test_stage_trains_chooses_and_reports_a_method_that_was_registered(make_split, write_splits, tmp_path, monkeypatch):
    monkeypatch.setitem(METHODS, "my_own", MyOwn)  # which takes it out again at the end
    register("my_own", MyOwn)
    splits = {name: make_split(count, 3, 0) for name, count in (("train", 60), ("validation", 30), ("test", 30))}
    write_splits(tmp_path / "shards", **splits)
    (tmp_path / "discover").mkdir()
    table = pa.table({"key": splits["train"].keys, "aux_0": splits["train"].factors[:, 1].tolist()})
    parquet.write_table(table, tmp_path / "discover" / "labels.parquet")
    keys = ("weights=[1]", "controls=[]", "select=fixed", "seeds=1", "epochs=1", "head_hidden=8")
    config = load_config(None, ["run.threads=1", *(f"multitask.{key}" for key in keys)])
    config = replace(config, multitask=replace(config.multitask, methods=["stl", "my_own"]))
    run_multitask(config, tmp_path / "shards", tmp_path / "discover", tmp_path / "disentangle", tmp_path / "multitask")
    metrics = json.loads((tmp_path / "multitask" / "metrics.json").read_text())
    assert metrics["chosen"]["method"] == "my_own"
    assert find_effect(metrics).method == "my_own"


def test_method_that_cannot_train_is_told_before_the_first_training(run, tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(train, "train_trial", lambda *given: trained.append(given))
    with pytest.raises(UserError, match=r"auxilearn\.every=1000 is more than"):
        run(tmp_path, "multitask.methods=[stl,auxilearn]", "multitask.auxilearn.every=1000")
    assert trained == []


def test_every_trial_is_reported_on_both_splits(finished):
    _, metrics = finished
    named = {(row["method"], row["labels"], row["seed"], row["split"]) for row in metrics["rows"]}
    for split in ("validation", "test"):
        for seed in (0, 1):
            for pair in (
                ("stl", "none"),
                ("hard_sharing", "discovered"),
                ("hard_sharing+uncertainty", "discovered"),
                ("hard_sharing", "random"),
                ("hard_sharing", "rotation"),
            ):
                assert (*pair, seed, split) in named
            assert any(row[0] == "selected" and row[2:] == (seed, split) for row in named)


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
            assert {**row, "method": chosen["method"]} in metrics["rows"]


def test_tasks_are_those_of_the_chosen_classifiers(run, tmp_path, capsys):
    metrics = run(tmp_path, "multitask.select=fixed", "multitask.controls=[]", "multitask.methods=[hard_sharing]")
    assert "the config chose hard_sharing" in "".join(capsys.readouterr())
    principal, discovered = metrics["tasks"]
    (line,) = (line for line in metrics["summary"] if line["method"] == "selected" and line["split"] == "test")
    for name in ("accuracy_mean", "accuracy_low", "accuracy_high"):
        assert principal[name] == pytest.approx(line[name])
    assert sum(map(sum, principal["counts"])) == 2 * metrics["facts"]["test_images"]
    assert (discovered["task"], discovered["split"], discovered["seeds"]) == ("discovered", "train", 2)
    assert discovered["images"] == metrics["facts"]["train_images"]
    assert len(discovered["counts"]) == metrics["facts"]["aux_classes"] == 3


def test_reported_split_is_read_once_after_every_choice(run, tmp_path, monkeypatch):
    events = []
    original_load, original_select = stage.load_split, stage.select_setting
    for module in (material, stage):
        monkeypatch.setattr(
            module,
            "load_split",
            lambda folder, split, *rest: events.append(split) or original_load(folder, split, *rest),
        )
    monkeypatch.setattr(stage, "select_setting", lambda *given: events.append("choice") or original_select(*given))
    run(tmp_path, "multitask.seeds=1", "multitask.controls=[]")
    assert events == ["train", "validation", "choice", "test"]


def test_interrupted_run_ends_like_an_uninterrupted_one(run, finished, tmp_path, monkeypatch):
    original = train.train_trial
    calls = []

    def stop_after_three(*given):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(given[0])
        return original(*given)

    monkeypatch.setattr(train, "train_trial", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    again = []
    monkeypatch.setattr(train, "train_trial", lambda *given: again.append(given[0]) or original(*given))
    metrics = run(tmp_path)
    assert not set(calls) & set(again)
    assert drop_seconds(metrics["rows"]) == drop_seconds(finished[1]["rows"])


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-9], lambda content: b"\xff" * 20])
def test_trial_whose_weights_are_damaged_is_told_and_trained_once_more(
    run, finished, tmp_path, monkeypatch, capsys, damage
):
    def fail(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "evaluate", fail)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    path = sorted((tmp_path / "states").glob("*.safetensors"))[1]
    path.write_bytes(damage(path.read_bytes()))
    rows = (tmp_path / "rows.jsonl").read_text().splitlines()
    older = {name: value for name, value in json.loads(rows.pop()).items() if name != "kind"}  # of another version
    with (tmp_path / "rows.jsonl").open("w") as stream:
        stream.write("".join(f"{row}\n" for row in [*rows, json.dumps(older)]))
        stream.write('[1]\n{"inputs_hash": 1}\n')
    again, checked, original = [], [], train.train_trial
    monkeypatch.setattr(train, "train_trial", lambda *given: again.append(given[0].name) or original(*given))
    monkeypatch.setattr(train, "check_trial", lambda *given: checked.append(given[0].name))
    metrics = run(tmp_path)
    assert drop_seconds(metrics["rows"]) == drop_seconds(finished[1]["rows"])  # in the same order
    assert drop_seconds(metrics["summary"]) == drop_seconds(finished[1]["summary"])
    assert sorted(again) == sorted([path.stem, older["name"]])
    assert set(checked) <= set(again)  # what is kept needs no check
    assert f"multitask: {path} is" in (said := capsys.readouterr().out.replace("\n", " "))
    assert "its trial is trained once more" in said


def test_terminated_run_keeps_its_finished_trials(run, finished, tmp_path, monkeypatch):
    original = train.train_trial

    def stop_in_the_third(trial, *given):
        if trial.labels == "random":
            os.kill(os.getpid(), signal.SIGTERM)
        return original(trial, *given)

    monkeypatch.setattr(train, "train_trial", stop_in_the_third)
    with pytest.raises(InterruptedRunError, match="after 3 of 10 trials; the same command continues"):
        run(tmp_path)
    monkeypatch.setattr(train, "train_trial", original)
    assert drop_seconds(run(tmp_path)["rows"]) == drop_seconds(finished[1]["rows"])


def test_terminated_run_of_methods_that_learn_their_loss_continues_as_if_nothing_had_happened(
    run, tmp_path, monkeypatch
):
    """The signal comes in the middle of the second trial, while a label generator is taught."""
    keys = (
        *("multitask.methods=[maxl,auxilearn,auxilearn_combine]", "multitask.seeds=1", "multitask.controls=[]"),
        *("multitask.epochs=1", "multitask.batch_size=8", "multitask.auxilearn.every=2"),
    )
    original, calls = Maxl.teach, []

    def stop_in_the_third(method, *given):
        calls.append(method)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(method, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Maxl, "teach", stop_in_the_third)
        with pytest.raises(InterruptedRunError, match="after 1 of 4 trials; the same command continues"):
            run(tmp_path / "stopped", *keys)
    rows = drop_seconds(run(tmp_path / "stopped", *keys)["rows"])
    assert rows == drop_seconds(run(tmp_path / "whole", *keys)["rows"])
    steps = {row["method"]: row["steps"] for row in rows}
    assert steps["maxl"] == 2 * steps["stl"]
    assert steps["auxilearn"] == steps["auxilearn_combine"] == steps["stl"] + steps["stl"] // 2
    assert {row["kind"] for row in rows if row["method"] == "maxl"} == {"method"}


def test_finished_run_leaves_no_states_behind(finished):
    assert sorted(path.name for path in finished[0].iterdir()) == [
        "checkpoint",
        "config.yaml",
        "curves.jsonl",
        "metrics.json",
        "record.json",
    ]


def test_every_control_trains_by_a_method_and_a_rule_and_none_is_chosen(run, tmp_path):
    every = "random,permuted,within_class,rotation,constant,correlated,oracle"
    keys = (f"controls=[{every}]", "correlated_nmi=[0.3,1]", "oracle=wall_hue", "seeds=1", "epochs=1")
    keys += ("control_methods=[hard_sharing,hard_sharing+uncertainty]", "methods=[hard_sharing]")
    metrics = run(tmp_path, *(f"multitask.{key}" for key in keys))
    labels = {"random", "permuted", "within_class", "rotation", "constant", "oracle"}
    labels |= {"correlated_split", "correlated_0.3", "correlated_1"}
    kinds = {(row["method"], row["labels"]): row["kind"] for row in metrics["rows"]}
    for method in ("hard_sharing", "hard_sharing+uncertainty"):
        for name in labels:
            assert kinds[method, name] == ("upper_bound" if name == "oracle" else "control")
    assert metrics["chosen"]["labels"] in ("none", "discovered")
    assert metrics["facts"]["oracle"] == "wall_hue"


def test_facts_name_no_oracle_if_no_control_reads_one(finished):
    assert "oracle" not in finished[1]["facts"]
