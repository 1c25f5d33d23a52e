"""launch/ray_train.py on a Ray of this machine: real workers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each test starts a Ray

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "ray_train.py"


@pytest.fixture
def run(tmp_path, arguments):
    """Run the script; its exit code and what it printed."""

    def run(*keys):
        command = [sys.executable, SCRIPT, "--workers", "2", *arguments, "run.dir=run"]
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
