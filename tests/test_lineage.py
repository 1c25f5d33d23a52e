"""What real runs of the program leave in W&B's offline files, read back."""

import json
import signal
import subprocess
import sys
import time

import pytest

from detaux import lineage
from detaux.cli import run_command
from detaux.config import load_config
from detaux.lineage import log_stage
from detaux.runtime.tracker import read_metrics

KEYS = (
    "data.source=shapes3d",
    "data.principal=scale",
    "data.grid=[3,3,3,3,2,1]",
    "data.side=16",
    "pairs.pool=64",
    "model.subspaces=4",
    "model.latent=6",
    "model.restarts=2",
    "run.threads=1",
    "run.device=cpu",
    "disentangle.warmup.steps=20",
    "disentangle.warmup.batch_size=16",
    "disentangle.main.steps=40",
    "disentangle.main.batch_size=8",
    "disentangle.log_interval=2",
    "disentangle.checkpoint_interval=5",
    "discover.clusterer=kmeans",
    "discover.clusters=3",
    "discover.min_oracle_share=0",
    "discover.stability_samples=0",
    "multitask.epochs=1",
    "multitask.seeds=2",
    "multitask.weights=[0.5]",
    "multitask.controls=[]",
)


def run(command, folder, *keys):
    (folder / "config.yaml").write_text("{}")
    return run_command([command, str(folder / "config.yaml"), *KEYS, f"run.dir={folder / 'scenes'}", *keys])


def list_files(records):
    """(W&B run, whether it read or left it) of each artefact of ours, by name and digest."""
    ours = [one for one in records["artifact"] if one.type != "run_table"]
    return {(one.run_id, "read" if one.use_after_commit else "left", one.name, one.digest) for one in ours}


def test_run_leaves_artefacts_from_shards_to_classifier_pictures_and_tables(tmp_path, wandb_offline, capsys):
    assert run("run", tmp_path, "track.wandb=offline") == 0
    output = capsys.readouterr().out
    assert output.count("`wandb sync ") == 3
    assert f"{tmp_path}/scenes/disentangle/restart_1/wandb/offline-run-*" in output

    records = wandb_offline(tmp_path)
    jobs = {one.run_id: one.job_type for one in records["run"]}
    assert {one.run_group for one in records["run"]} == {"scenes"}
    files = list_files(records)
    flow = {(jobs[run_id], way, name.removeprefix("scenes-")) for run_id, way, name, _ in files}
    models = ("model", "model_1")
    assert flow == {
        ("disentangle", "read", "shards"),
        *(("disentangle", "left", name) for name in models),
        ("discover", "read", "shards"),
        *(("discover", "read", name) for name in models),
        ("discover", "left", "labels"),
        ("multitask", "read", "shards"),
        ("multitask", "read", "labels"),
        ("multitask", "left", "classifier"),
    }
    digests = {name: {digest for _, _, other, digest in files if other == name} for _, _, name, _ in files}
    assert all(len(found) == 1 for found in digests.values()), "what a stage reads is what another left"

    (labels,) = (one for one in records["artifact"] if one.name == "scenes-labels" and not one.use_after_commit)
    record = json.loads((tmp_path / "scenes" / "discover" / "record.json").read_text())
    assert json.loads(labels.metadata)["inputs"] == record["inputs"]
    media = {file.path.rsplit("/", 1)[-1].split("_")[0] for one in records["files"] for file in one.files}
    assert {"traversal", "candidates", "accuracies"} <= media

    assert run("run", tmp_path, "track.wandb=off", "track.tensorboard=true", "track.group=x", "track.project=y") == 0
    assert capsys.readouterr().out.count("unchanged") == 4


@pytest.mark.slow
def test_killed_training_goes_on_in_its_wandb_run_with_every_line_once(tmp_path, wandb_offline, read_history):
    keys = ("track.wandb=offline", "model.restarts=1", "disentangle.main.steps=400")
    assert run("disentangle", tmp_path, *keys) == 2  # no shards yet
    config = tmp_path / "config.yaml"
    shards = ["shards", "build", str(config), "--out", str(tmp_path / "scenes" / "shards"), *KEYS]
    assert run_command(shards) == 0
    command = [
        sys.executable,
        "-m",
        "detaux",
        "disentangle",
        str(config),
        *KEYS,
        f"run.dir={tmp_path / 'scenes'}",
        *keys,
    ]
    folder = tmp_path / "scenes" / "disentangle"
    for steps in (30, 100):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 90
        while not any(int(path.name[5:]) >= steps for path in (folder / "checkpoint").glob("step-*")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert run("disentangle", tmp_path, *keys) == 0

    records = wandb_offline(tmp_path)
    assert len({one.run_id for one in records["run"]}) == 1
    assert len(records["run"]) == 2  # of the training that ended, and of its artefacts
    steps = [row["step"] for row in read_history(records)]
    assert steps == [line["step"] for line in read_metrics(folder)] == list(range(2, 421, 2))


@pytest.mark.slow
def test_two_ranks_are_one_wandb_run_of_the_first(tmp_path, wandb_offline, read_history, start_ranks):
    config, folder = tmp_path / "config.yaml", tmp_path / "scenes"
    config.write_text("{}")
    assert run_command(["shards", "build", str(config), "--out", str(folder / "shards"), *KEYS]) == 0
    keys = (*KEYS, f"run.dir={folder}", "track.wandb=offline", "model.restarts=1")
    ranks = start_ranks(2, "-m", "detaux", "disentangle", config, *keys)
    outputs = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    assert outputs[1] == ""
    records = wandb_offline(tmp_path)
    assert len({one.run_id for one in records["run"]}) == 1
    lines = read_metrics(folder / "disentangle")
    assert [row["step"] for row in read_history(records)] == [line["step"] for line in lines]


def test_wandb_that_fails_after_a_stage_is_told_and_fails_nothing(tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise ConnectionError("no server")

    monkeypatch.setattr(lineage, "_log_stage", fail)
    log_stage(load_config(None, ["track.wandb=offline"]), "discover", tmp_path, {})
    assert capsys.readouterr().out == (
        "discover: W&B got nothing of what the stage left: ConnectionError('no server')\n"
    )
    log_stage(load_config(None), "discover", tmp_path, {})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("stage", ["disentangle", "discover", "multitask"])
def test_artefacts_of_a_stage_are_files_that_its_record_lists(stage, tmp_path):
    config = load_config(None, ["model.restarts=2"])
    outputs = {
        "disentangle": {"checkpoint/model.safetensors", "restart_1/checkpoint/model.safetensors"},
        "discover": {"labels.parquet"},
        "multitask": {"metrics.json", "checkpoint/model.safetensors"},
    }
    paths = [path for paths in lineage.list_artefacts(config, stage, tmp_path).values() for path in paths]
    assert {str(path.relative_to(tmp_path)) for path in paths} == outputs[stage]
