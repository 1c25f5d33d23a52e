"""Trials in this process that share a warm-up, beside one that trains its own."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from detaux.artefacts import MODEL_FILE
from detaux.config import load_config
from detaux.config.load import change_config
from detaux.errors import UserError
from detaux.pipeline import run_stages
from detaux.sweep import trial
from detaux.sweep.trial import Account, Sweep, run_trial
from detaux.sweep.warmup import SharedWarmup, strip_config
from shards.build import build_shards

MARGIN = "losses.distance.margin"


@pytest.fixture
def sweep(tiny, tmp_path):
    config = load_config(tiny, ["sweep.scheduler=none", "disentangle.warmup.steps=10", "disentangle.main.steps=5"])
    build_shards(config, tmp_path / "shards")
    return Sweep(config, tmp_path, str(tmp_path / "shards"), tmp_path)


def run(sweep, name, values):
    run_trial(values, sweep, name, lambda step, worth: None)
    folder = sweep.root / "trials" / name
    return Account.load(folder), load_file(folder / "disentangle" / MODEL_FILE), (folder / "log.txt").read_text()


def test_trial_on_a_shared_warmup_ends_with_the_weights_of_one_that_trained_its_own(sweep):
    first, _, log = run(sweep, "first", {MARGIN: 0.2})
    assert (first.is_warm, "continues from" in log) == (False, False)
    second, weights, log = run(sweep, "second", {MARGIN: 1.5})
    assert (second.is_warm, "continues from step 10" in log) == (True, True)
    run_stages(("disentangle",), sweep.make_job(sweep.root / "alone", {MARGIN: 1.5}))
    alone = load_file(sweep.root / "alone" / "disentangle" / MODEL_FILE)
    assert all(torch.equal(weights[name], alone[name]) for name in alone)


def test_trials_that_are_to_share_nothing_train_their_own(sweep):
    settings = replace(sweep.config.sweep, share_warmups=False)
    apart = replace(sweep, config=replace(sweep.config, sweep=settings))
    for name, margin in (("one", 0.2), ("other", 1.5)):
        assert not run(apart, name, {MARGIN: margin})[0].is_warm
    assert not (sweep.root / "warmups").exists()


@pytest.mark.parametrize(
    ("dotted", "value", "is_shared"),
    [
        (MARGIN, 0.3, True),
        ("losses.schedule.beta1.middle", 0.3, True),
        ("losses.weights.consistency", 3.0, True),
        ("pairs.walk", 0, True),
        ("disentangle.main.lr", 1e-3, True),
        ("discover.min_samples", 4, True),
        ("losses.weights.reconstruction", 3.0, False),
        ("losses.reconstruction.form", "sum", False),
        ("losses.weights.divergence", 0.3, False),
        ("model.subspaces", 4, False),
        ("disentangle.warmup.lr", 1e-3, False),
        ("disentangle.clip", 2.0, False),
        ("data.noise", 0.1, False),
        ("run.seed", 1, False),
    ],
)
def test_trials_share_a_warmup_exactly_where_they_differ_in_keys_of_the_main_phase(sweep, dotted, value, is_shared):
    one, other = (
        SharedWarmup(sweep.root, sweep.make_job(sweep.root / "t", values)) for values in ({}, {dotted: value})
    )
    assert (one.path == other.path) == is_shared


def test_trials_without_a_main_phase_share_no_warmup(sweep):
    """Nothing sees the end of their warm-up, so no trial waits for another."""
    assert SharedWarmup(sweep.root, sweep.make_job(sweep.root / "t", {"disentangle.main.steps": 0})).path is None


def test_stripped_config_trains_the_same_warmup(sweep):
    changed = change_config(sweep.config, {MARGIN: 0.3, "pairs.walk": 0, "disentangle.main.lr": 1e-3}, "test")
    assert strip_config(changed) == strip_config(sweep.config)
    assert strip_config(changed).disentangle.warmup == sweep.config.disentangle.warmup


def test_warmup_of_a_trial_that_fails_is_free_for_the_next(sweep, monkeypatch):
    def fail(stages, job):
        raise UserError("no.")

    with monkeypatch.context() as patch:
        patch.setattr(trial, "run_stages", fail)
        with pytest.raises(RuntimeError):
            run_trial({}, sweep, "failed", lambda step, worth: None)
    assert not run(sweep, "next", {})[0].is_warm


def test_damaged_warmup_is_told_and_trained_once_more(sweep):
    run(sweep, "first", {MARGIN: 0.2})
    (path,) = (sweep.root / "warmups").glob("*.safetensors")
    content = path.read_bytes()
    for kept in (0.0, 0.5, 0.99):
        path.write_bytes(content[: int(kept * len(content))])
        second, _, log = run(sweep, f"after {kept}", {MARGIN: 1.5})
        assert not second.is_warm
        assert f"sweep: {path} is" in log
        assert "the warm-up is trained once more" in log
        assert path.read_bytes() == content
    assert run(sweep, "last", {MARGIN: 0.7})[0].is_warm


def test_several_restarts_share_no_warmup(sweep):
    job = sweep.make_job(sweep.root / "t", {"model.restarts": 2})
    warmup = SharedWarmup(sweep.root, job)
    assert warmup.path is None
    assert not warmup.take()
