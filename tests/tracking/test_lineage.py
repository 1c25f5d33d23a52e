"""What real runs of the program leave in W&B's offline files, read back."""

import json
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from detaux.cli import run_command
from detaux.config import load_config
from detaux.disentangle.restarts import list_models
from detaux.errors import UserError
from detaux.runtime.metrics import read_metrics
from detaux.tracking import lineage
from detaux.tracking.lineage import log_stage
from detaux.tracking.workspace import build_workspace, read_run_config

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
    "disentangle.warmup.steps=4",
    "disentangle.warmup.batch_size=16",
    "disentangle.main.steps=16",
    "disentangle.main.batch_size=8",
    "disentangle.log_interval=2",
    "disentangle.checkpoint_interval=5",
    "discover.clusterer=kmeans",
    "discover.clusters=3",
    "discover.min_oracle_fraction=0",
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


def test_run_leaves_artefacts_pictures_tables_and_every_key_of_its_workspace(
    tmp_path, wandb_offline, read_history, list_workspace_keys, capsys, monkeypatch
):
    monkeypatch.setattr("detaux.report.build.report_run", lambda config, folder: None)  # it has no run of W&B
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
    history = {key: value for row in read_history(records) for key, value in row.items()}
    media = {key.removesuffix("/_type"): value for key, value in history.items() if key.endswith("/_type")}
    tables = ("candidates", "classes_by_cluster", "accuracies", "tasks", "confusion")
    assert media == {"traversal": "image-file", "clusters": "object3D-file", **dict.fromkeys(tables, "table-file")}
    charted = list_workspace_keys(build_workspace(read_run_config(tmp_path / "scenes"), "team"))
    assert {key for keys in charted.values() for key in keys} <= set(history) | set(media)

    assert run("run", tmp_path, "track.wandb=off", "track.tensorboard=true", "track.group=x", "track.project=y") == 0
    assert capsys.readouterr().out.count("unchanged") == 4


@pytest.mark.slow
def test_killed_training_goes_on_in_its_wandb_run_with_every_line_once(tmp_path, wandb_offline, read_history):
    keys = ("track.wandb=offline", "model.restarts=1", "disentangle.warmup.steps=20", "disentangle.main.steps=400")
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

    def has_checkpoint(steps):
        return any(int(path.name[5:]) >= steps for path in folder.glob("checkpoint/step-*"))

    def kill_when(is_reached, *more):
        process = subprocess.Popen([*command, *more], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 90
        while not is_reached():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()

    kill_when(lambda: len(read_metrics(folder)) > 3, "disentangle.checkpoint_interval=100000")
    assert not has_checkpoint(0)
    for steps in (30, 100):
        kill_when(partial(has_checkpoint, steps))
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
        "discover: the stage's results could not be sent to W&B: ConnectionError('no server')\n"
    )
    log_stage(load_config(None), "discover", tmp_path, {})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("stage", ["disentangle", "discover", "multitask"])
def test_artefacts_of_a_stage_are_files_that_its_record_lists(stage, tmp_path):
    listed = [
        str(path.relative_to(tmp_path))
        for path in list_models(tmp_path, load_config(None, ["model.restarts=2"])).values()
    ]
    outputs = {
        "disentangle": {"checkpoint/model.safetensors", "restart_1/checkpoint/model.safetensors"},
        "discover": {"labels.parquet"},
        "multitask": {"metrics.json", "checkpoint/model.safetensors"},
    }
    paths = [
        path for paths in lineage.list_artefacts(stage, tmp_path, ["metrics.jsonl", *listed]).values() for path in paths
    ]
    assert {str(path.relative_to(tmp_path)) for path in paths} == outputs[stage]


def test_points_have_a_colour_for_each_cluster_and_noise_is_grey():
    points = np.arange(12.0).reshape(4, 3)
    coloured = lineage.colour_points(points, np.array([0, 2, 1, 0]), clusters=2)
    assert np.array_equal(coloured[:, :3], points)
    assert np.array_equal(coloured[0, 3:], coloured[3, 3:])
    assert len({tuple(row) for row in coloured[:, 3:]}) == 3
    assert set(coloured[1, 3:]) == {153.0}
    assert coloured[:, 3:].min() >= 0
    assert coloured[:, 3:].max() <= 255


def test_matrix_is_a_table_with_a_line_for_each_cell():
    table = lineage.build_matrix(["a", "b"], ["0", "1", "noise"], [[1, 2, 3], [4, 5, 6]])
    assert table.data == [
        ["a", "0", 1],
        ["a", "1", 2],
        ["a", "noise", 3],
        ["b", "0", 4],
        ["b", "1", 5],
        ["b", "noise", 6],
    ]


def test_gallery_that_holds_a_program_is_refused_unread(tmp_path, trap):
    (tmp_path / "discovery.json").write_text(json.dumps(dict.fromkeys(lineage.DISCOVERY_NAMES)))
    np.savez(tmp_path / "gallery.npz", traversal=np.array([trap], object))
    with pytest.raises(UserError, match=r"gallery\.npz is no \.npz file"):
        lineage.show_discovery(tmp_path)
    assert not trap.mark.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", None])
def test_gallery_that_cannot_be_shown_is_one_sentence(tmp_path, content):
    (tmp_path / "discovery.json").write_text(json.dumps(dict.fromkeys(lineage.DISCOVERY_NAMES)))
    np.savez(tmp_path / "gallery.npz", traversal=np.zeros(1))
    if content is not None:
        (tmp_path / "gallery.npz").write_bytes(content)
    fault = "lacks 'traversal_groups'" if content is None else "is"
    with pytest.raises(UserError, match=rf"gallery\.npz {fault}.*; run that stage again"):
        lineage.show_discovery(tmp_path)
