"""launch/trainjob.yaml without a Kubernetes: its command twice on this machine, in the environment that pods are given."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from detaux.launch import Launch, find_template, render_launch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_two_pods_take_the_steps_of_one_process(tmp_path, arguments, free_port, read_losses):
    launch = Launch("trainjob", arguments[0], (*arguments[1:], "run.dir=two"), nodes=2)
    trainer = yaml.safe_load(render_launch(launch, find_template("trainjob.yaml").read_text()))["spec"]["trainer"]
    program = trainer["command"] + trainer["args"]
    assert program[1].startswith("--chdir=/")  # where the image has configs/
    program[1] = f"--chdir={tmp_path}"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PET_NNODES": "2",
        "PET_NPROC_PER_NODE": "1",
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(free_port),
    }
    pods = [
        subprocess.Popen(
            program,
            env={**environment, "PET_NODE_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [pod.communicate(timeout=120)[0] for pod in pods]
    finally:
        for pod in pods:
            pod.kill()
    assert [pod.returncode for pod in pods] == [0, 0], outputs
    one = [sys.executable, "-m", "detaux", "disentangle", *arguments, "run.dir=one"]
    subprocess.run(one, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert len(read_losses(tmp_path / "one")) == 6
    assert read_losses(tmp_path / "two") == pytest.approx(read_losses(tmp_path / "one"), rel=1e-3)
