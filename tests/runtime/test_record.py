import hashlib
import json
import shutil
import subprocess

import pytest

from detaux.artefacts import RECORD_NAME
from detaux.config import list_neutral, load_config, reads
from detaux.config.load import get_value, iterate_fields
from detaux.runtime.files import write_json
from detaux.runtime.record import (
    compute_inputs_hash,
    hash_inputs,
    is_done,
    is_lost,
    read_commit,
    read_stage_config,
    write_record,
)

CHANGES = {
    "run.seed": "1",
    "data.noise": "0.5",
    "pairs.pull": "0.5",
    "model.latent": "17",
    "losses.distance.margin": "2",
    "disentangle.main.steps": "7",
    "discover.merge": "false",
    "multitask.epochs": "2",
}
NEUTRAL_CHANGES = {
    "run.dir": "elsewhere",
    "data.workers": "3",
    "data.cache": "none",
    "data.cache_bytes": "0",
    "track.wandb": "offline",
    "track.tensorboard": "true",
    "track.project": "elsewhere",
    "track.group": "others",
}


@pytest.fixture
def inputs(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text("{}")
    return {"manifest": path}


def finish(folder, stage="discover", config=None, inputs=None):
    folder.mkdir(exist_ok=True)
    (folder / "labels.parquet").write_bytes(b"labels")
    write_record(
        folder, stage, config or load_config(None), hash_inputs(inputs or {}), ["labels.parquet"], 0.0, {"note": 1}
    )


@pytest.mark.parametrize("stage", ["shards", "disentangle", "discover", "multitask"])
@pytest.mark.parametrize("dotted", CHANGES)
def test_hash_changes_exactly_with_the_keys_a_stage_reads(inputs, stage, dotted):
    before = compute_inputs_hash(stage, load_config(None), hash_inputs(inputs))
    after = compute_inputs_hash(stage, load_config(None, [f"{dotted}={CHANGES[dotted]}"]), hash_inputs(inputs))
    assert (before != after) == reads(stage, dotted)


@pytest.mark.parametrize("dotted", ["multitask.pretrained", "multitask.mti.pretrained"])
def test_hash_changes_with_the_content_of_a_file_of_weights_and_not_with_its_place(tmp_path, dotted):
    def compute(name):
        return compute_inputs_hash("multitask", load_config(None, [f"{dotted}={tmp_path / name}"]), {})

    for name, content in (("a.pth", b"1"), ("copy.pth", b"1"), ("b.pth", b"2")):
        (tmp_path / name).write_bytes(content)
    before = compute("a.pth")
    assert compute("copy.pth") == before
    assert compute("b.pth") != before
    (tmp_path / "a.pth").write_bytes(b"3")
    assert compute("a.pth") != before


@pytest.mark.parametrize("dotted", NEUTRAL_CHANGES)
def test_hash_ignores_neutral_keys(inputs, dotted):
    assert dotted in list_neutral()
    changed = load_config(None, [f"{dotted}={NEUTRAL_CHANGES[dotted]}"])
    hashes = hash_inputs(inputs)
    assert compute_inputs_hash("disentangle", changed, hashes) == compute_inputs_hash(
        "disentangle", load_config(None), hashes
    )


def test_every_key_of_track_is_neutral():
    keys = {dotted for dotted, _, _ in iterate_fields() if dotted.startswith("track.")}
    assert keys == {dotted for dotted in NEUTRAL_CHANGES if dotted.startswith("track.")}


def test_neutral_keys_are_keys():
    known = {dotted for dotted, _, _ in iterate_fields()}
    assert list_neutral() <= known


def test_hash_changes_with_an_input_file(inputs):
    before = compute_inputs_hash("discover", load_config(None), hash_inputs(inputs))
    inputs["manifest"].write_text("{ }")
    assert compute_inputs_hash("discover", load_config(None), hash_inputs(inputs)) != before


def test_hash_changes_with_the_order_of_classes(inputs):
    hashes = {
        compute_inputs_hash("shards", load_config(None, [f"data.principal={text}"]), hash_inputs(inputs))
        for text in ("{odd: [1], even: [0]}", "{even: [0], odd: [1]}", "{1: [1], even: [0]}")
    }
    assert len(hashes) == 3


def test_stage_is_done_after_its_record_and_only_with_the_same_inputs(tmp_path, inputs):
    folder, config = tmp_path / "discover", load_config(None)
    inputs_hash = compute_inputs_hash("discover", config, hash_inputs(inputs))
    assert not is_done(folder, inputs_hash)
    finish(folder, inputs=inputs)
    assert is_done(folder, inputs_hash)
    assert not is_done(folder, compute_inputs_hash("discover", load_config(None, ["run.seed=1"]), hash_inputs(inputs)))


def test_files_that_a_person_may_edit_may_change_but_not_be_lost(tmp_path):
    folder = tmp_path / "discover"
    finish(folder)
    inputs_hash = json.loads((folder / RECORD_NAME).read_text())["inputs_hash"]
    (folder / "labels.parquet").write_bytes(b"edited")
    assert is_done(folder, inputs_hash, ("others.parquet", "labels.parquet"))
    assert not is_done(folder, inputs_hash, ("others.parquet",))
    (folder / "labels.parquet").unlink()
    assert not is_done(folder, inputs_hash, ("labels.parquet",))


def test_files_that_no_stage_reads_may_change_and_be_lost(tmp_path):
    folder = tmp_path / "discover"
    finish(folder)
    inputs_hash = json.loads((folder / RECORD_NAME).read_text())["inputs_hash"]
    (folder / "labels.parquet").write_bytes(b"edited")
    assert is_done(folder, inputs_hash, unread=("labels.parquet",))
    assert not is_lost(folder, "labels.parquet")
    (folder / "labels.parquet").unlink()
    assert is_done(folder, inputs_hash, unread=("labels.parquet",))
    assert is_lost(folder, "labels.parquet")
    assert not is_lost(folder, "others.parquet")


@pytest.mark.parametrize("damage", ["changed", "removed", "record cut", "record of another form"])
def test_stage_is_not_done_once_its_files_are_damaged(tmp_path, damage):
    folder = tmp_path / "discover"
    finish(folder)
    inputs_hash = json.loads((folder / RECORD_NAME).read_text())["inputs_hash"]
    assert is_done(folder, inputs_hash)
    if damage == "changed":
        (folder / "labels.parquet").write_bytes(b"other")
    elif damage == "removed":
        (folder / "labels.parquet").unlink()
    elif damage == "record cut":
        (folder / RECORD_NAME).write_text('{"inputs_hash": "')
    else:
        write_json(folder / RECORD_NAME, ["outputs"])
    assert not is_done(folder, inputs_hash)


def test_record_holds_the_frozen_config_and_what_ran(tmp_path):
    config = load_config(None, ["run.seed=5", "discover.tasks=2"])
    finish(tmp_path / "discover", config=config)
    record = json.loads((tmp_path / "discover" / RECORD_NAME).read_text())
    assert load_config(tmp_path / "discover" / "config.yaml") == config
    assert read_stage_config(tmp_path / "discover")["run"]["seed"] == get_value(config, "run.seed") == 5
    assert record["stage"] == "discover"
    assert record["facts"] == {"note": 1}
    assert {"python", "detaux", "torch", "numpy"} <= set(record["versions"])


def test_record_holds_the_sha256_of_every_input(tmp_path, inputs):
    finish(tmp_path / "discover", inputs=inputs)
    record = json.loads((tmp_path / "discover" / RECORD_NAME).read_text())
    assert record["inputs"] == {"manifest": hashlib.sha256(b"{}").hexdigest()}


def test_record_keeps_inputs_hashed_at_the_begin_of_the_stage(tmp_path, inputs):
    config = load_config(None)
    hashes, before = hash_inputs(inputs), compute_inputs_hash("discover", config, hash_inputs(inputs))
    inputs["manifest"].write_text("changed meanwhile")
    write_record(tmp_path, "discover", config, hashes, [], 0.0)
    record = json.loads((tmp_path / RECORD_NAME).read_text())
    assert (record["inputs"], record["inputs_hash"]) == (hashes, before)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_is_the_head_of_the_checkout_itself_and_marks_changed_files(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "site-packages"
    package.mkdir()
    assert read_commit(tmp_path) == "unknown"
    git("init")
    assert read_commit(tmp_path) == "unknown"
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "--message=first")
    git("tag", "--annotate", "v1", "--message=v1")
    head = git("rev-parse", "HEAD")
    assert read_commit(tmp_path) == head
    assert read_commit(package) == "unknown"
    (tmp_path / "note.txt").touch()
    assert read_commit(tmp_path) == head
    (tmp_path / "code.py").write_text("2")
    assert read_commit(tmp_path) == f"{head}+"


def test_commit_without_git_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_commit(tmp_path) == "unknown"
