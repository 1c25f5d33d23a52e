"""launch/ray_train.py on a Ray of this machine: real workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detaux.config import load_config
from shards.build import build_shards

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "ray_train.py"
KEYS = [
    "data.source=digits",
    "data.side=8",
    "pairs.pool=64",
    "model.subspaces=3",
    "model.latent=4",
    "run.threads=1",
    "disentangle.warmup.steps=5",
    "disentangle.warmup.batch_size=8",
    "disentangle.main.steps=10",
    "disentangle.main.batch_size=4",
]


@pytest.fixture
def run(tmp_path):
    """Run the script in a folder with shards; its exit code and what it printed."""
    build_shards(load_config(None, KEYS), tmp_path / "shards")
    (tmp_path / "config.yaml").write_text("{}")

    def run(*keys):
        command = [sys.executable, SCRIPT, "--workers", "2", "config.yaml", *KEYS, "data.shards=shards", "run.dir=run"]
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
        environment["RAY_STORAGE"] = str(tmp_path / "ray")
        result = subprocess.run(
            [*command, *keys], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        return result.returncode, result.stdout + result.stderr

    return run


def test_workers_train_together_in_the_folder_of_the_command(run, tmp_path):
    exit_code, output = run()
    assert exit_code == 0, output
    assert json.loads((tmp_path / "run" / "disentangle" / "record.json").read_text())["facts"]["ranks"] == 2


def test_mistake_of_the_user_is_told_and_ends_the_command(run):
    exit_code, output = run("disentangle.main.batch_size=5")
    assert exit_code == 1
    assert "disentangle.main.batch_size=5 with pairs.reuse=1 does not divide into 2 equal parts" in output
