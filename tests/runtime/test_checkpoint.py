import pickle
from functools import partial

import pytest
import torch

from detaux.runtime import checkpoint
from detaux.runtime.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint


def save(folder, step, inputs_hash="h", keep=2):
    training = {"optimizer": {"state": {0: {"exp_avg": torch.full((2,), float(step))}}, "param_groups": [{"lr": 0.1}]}}
    save_checkpoint(folder, step, {"weight": torch.full((3,), float(step))}, training, inputs_hash, keep)


def test_checkpoint_round_trip_restores_newest_step(tmp_path):
    for step in (10, 20, 30):
        save(tmp_path, step)
    step, model, training = load_checkpoint(tmp_path, "h")
    assert step == 30
    assert torch.equal(model["weight"], torch.full((3,), 30.0))
    assert torch.equal(training["optimizer"]["state"][0]["exp_avg"], torch.full((2,), 30.0))


def test_checkpoint_keeps_the_last_n(tmp_path):
    for step in (10, 20, 30, 40):
        save(tmp_path, step, keep=3)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-00000020", "step-00000030", "step-00000040"]


def test_checkpoint_of_other_inputs_is_not_loaded(tmp_path):
    save(tmp_path, 10, inputs_hash="other")
    assert load_checkpoint(tmp_path, "h") is None


def test_checkpoint_half_written_is_ignored(tmp_path):
    save(tmp_path, 10)
    (tmp_path / ".step-00000020.partial").mkdir()
    assert load_checkpoint(tmp_path, "h")[0] == 10


@pytest.mark.parametrize("name", ["training.pt", "model.safetensors", "state.json"])
def test_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, name, caplog):
    for step in (5, 10):
        save_checkpoint(tmp_path, step, {"w": torch.full((3,), float(step))}, {"n": torch.tensor(step)}, "hash", keep=2)
    path = tmp_path / "step-00000010" / name
    path.write_bytes(path.read_bytes()[:7])
    step, weights, training = load_checkpoint(tmp_path, "hash")
    assert (step, weights["w"][0], training["n"]) == (5, 5.0, 5)
    assert "step-00000010 cannot be read" in caplog.text


def test_checkpoint_of_another_version_is_passed_over_by_name(tmp_path, monkeypatch, caplog):
    save(tmp_path, 10)
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    assert load_checkpoint(tmp_path, "h") is None
    assert "step-00000010 was written by another version and is passed over" in caplog.text


@pytest.mark.parametrize("write", [torch.save, partial(pickle.dump, protocol=2)], ids=["zip", "plain"])
def test_checkpoint_that_holds_a_program_is_passed_over_and_never_runs_it(tmp_path, caplog, trap, write):
    for step in (5, 10):
        save(tmp_path / "checkpoint", step)
    with (tmp_path / "checkpoint" / "step-00000010" / "training.pt").open("wb") as stream:
        write({"optimizer": trap}, stream)
    assert load_checkpoint(tmp_path / "checkpoint", "h")[0] == 5
    assert "step-00000010 cannot be read" in caplog.text
    assert not trap.mark.exists()
