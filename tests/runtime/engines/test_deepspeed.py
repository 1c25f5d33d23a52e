"""What DeepSpeed may be told; that it takes the steps of the other engines is in tests/disentangle/test_ranks.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from detaux.cli import run_command
from detaux.config.schema import EngineConfig
from detaux.errors import UserError
from detaux.runtime.engines.deepspeed import OURS, DeepSpeedEngine, read_knobs

ROOT = Path(__file__).parents[3]


def write(folder, text):
    path = folder / "knobs.json"
    path.write_text(text)
    return str(path)


def test_without_a_file_the_optimiser_state_is_sharded():
    assert read_knobs(None)["zero_optimization"]["stage"] == 1


def test_file_is_taken_as_it_is(tmp_path):
    knobs = {"zero_optimization": {"stage": 2, "reduce_bucket_size": 5}}
    assert read_knobs(write(tmp_path, json.dumps(knobs))) == knobs


@pytest.mark.parametrize("name", OURS)
def test_key_that_has_its_place_in_the_config_is_refused_with_that_place(tmp_path, name):
    with pytest.raises(UserError, match=f"sets {name}; set {OURS[name]} in the config instead"):
        read_knobs(write(tmp_path, json.dumps({name: 1})))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"zero_optimization": {"stage": 3}}', "ZeRO stage 3; allowed are 0, 1 and 2"),
        ('{"zero_optimization": true}', "ZeRO stage True; allowed are 0, 1 and 2"),
        ('{"zero_optimization": {"stage": [1]}}', r"ZeRO stage \[1\]; allowed"),
        ("{", "not valid JSON"),
        ("[1]", "holds a list"),
    ],
)
def test_wrong_file_is_refused_in_one_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence):
        read_knobs(write(tmp_path, text))


def test_settings_that_ship_are_accepted():
    assert read_knobs(str(ROOT / "launch" / "deepspeed.json"))["zero_optimization"]["stage"] == 1


def test_missing_package_is_told_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    model = torch.nn.Linear(1, 1)
    engine = DeepSpeedEngine(EngineConfig(name="deepspeed"), torch.device("cpu"))
    with pytest.raises(UserError, match=r"needs the Python package deepspeed; run `pip install 'detaux\[deepspeed\]'`"):
        engine.wrap(
            model, lambda model: (model.weight.sum(), {}), torch.optim.SGD(model.parameters()), clip=0, micro_batches=1
        )


def test_absent_file_is_refused():
    with pytest.raises(UserError, match=r"absent\.json does not exist"):
        read_knobs("absent.json")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("knobs", "exit_code", "sentence"),
    [(None, 0, ""), ({"bf16": {"enabled": "maybe"}}, 2, "DeepSpeed refuses these settings")],
)
def test_process_without_a_launcher_trains_or_says_why_not(tmp_path, knobs, exit_code, sentence):
    parity = "data.principal={a: [0,1,2,3,4], b: [5,6,7,8,9]}"
    assert run_command(["shards", "build", "digits", "--out", f"{tmp_path}/set", "data.side=8", parity]) == 0
    (tmp_path / "config.yaml").touch()
    keys = [f"data.shards={tmp_path}/set", f"run.dir={tmp_path}", "engine.name=deepspeed"]
    keys += [f"disentangle.{phase}.steps=2" for phase in ("warmup", "main")]
    keys += [f"engine.deepspeed={write(tmp_path, json.dumps(knobs))}"] if knobs else []
    unset = ("LOCAL_RANK", "RANK", "WORLD_SIZE")
    result = subprocess.run(
        [sys.executable, "-m", "detaux", "disentangle", f"{tmp_path}/config.yaml", *keys],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name not in unset},
    )
    assert result.returncode == exit_code, result.stderr
    assert sentence in result.stderr
