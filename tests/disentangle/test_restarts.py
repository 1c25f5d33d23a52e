import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from detaux.artefacts import MODEL_FILE
from detaux.config import load_config
from detaux.disentangle.restarts import list_models, list_restarts, seed_restart
from detaux.disentangle.train import run_disentangle
from shards.build import build_shards

KEYS = (
    "data.source=shapes3d",
    "data.principal=scale",
    "data.grid=[3,2,2,2,2,1]",
    "data.side=16",
    "model.subspaces=4",
    "model.latent=6",
    "run.threads=1",
    "run.seed=5",
    "disentangle.warmup.steps=3",
    "disentangle.main.steps=4",
    "disentangle.main.batch_size=8",
)


def load_weights(folder):
    return load_file(folder / MODEL_FILE)


def is_same(one, two):
    return all(torch.equal(value, two[name]) for name, value in one.items())


def test_restarts_are_trainings_from_other_seeds_and_the_first_is_the_run_itself(tmp_path):
    config = load_config(None, [*KEYS, "model.restarts=2"])
    build_shards(config, tmp_path / "shards")
    run_disentangle(config, tmp_path / "shards", tmp_path / "two")
    first, second = list_restarts(tmp_path / "two", 2)
    for folder, seed in (("one", 5), ("other", seed_restart(config, 1).run.seed)):
        alone = load_config(None, [*KEYS, f"run.seed={seed}"])
        run_disentangle(alone, tmp_path / "shards", tmp_path / folder)
    assert is_same(load_weights(first), load_weights(tmp_path / "one"))
    assert is_same(load_weights(second), load_weights(tmp_path / "other"))
    assert not is_same(load_weights(first), load_weights(second))
    assert {"checkpoint/model.safetensors", "restart_1/checkpoint/model.safetensors"} <= set(
        json.loads((tmp_path / "two" / "record.json").read_text())["outputs"]
    )


def test_more_restarts_keep_those_that_are_trained_and_fewer_remove_the_rest(tmp_path):
    one = load_config(None, KEYS)
    build_shards(one, tmp_path / "shards")
    run_disentangle(one, tmp_path / "shards", tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    two = replace(one, model=replace(one.model, restarts=2))
    run_disentangle(two, tmp_path / "shards", tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before
    assert (tmp_path / "run" / "restart_1" / MODEL_FILE).is_file()
    run_disentangle(one, tmp_path / "shards", tmp_path / "run")
    assert not (tmp_path / "run" / "restart_1").exists()


def test_models_have_names_of_their_own():
    config = load_config(None, ["model.restarts=3"])
    assert list_models(Path("run"), config) == {
        "model": Path("run") / MODEL_FILE,
        "model_1": Path("run") / "restart_1" / MODEL_FILE,
        "model_2": Path("run") / "restart_2" / MODEL_FILE,
    }


def test_seeds_of_restarts_meet_those_of_no_neighbouring_run():
    base = load_config(None)
    configs = [replace(base, run=replace(base.run, seed=seed)) for seed in range(50)]
    seeds = {seed_restart(config, number).run.seed for config in configs for number in range(8)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**31 for seed in seeds)
