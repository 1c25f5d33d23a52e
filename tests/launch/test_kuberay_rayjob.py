"""launch/kuberay_rayjob.yaml without a Kubernetes: its entrypoints as jobs of a Ray of this machine, sent as KubeRay does."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow  # it starts a Ray

ROOT = Path(__file__).parents[2]
TEMPLATE = (ROOT / "launch" / "kuberay_rayjob.yaml").read_text(encoding="utf-8")
SWEEP = re.search(r"^# +(detaux sweep .*)$", TEMPLATE, re.M)[1]
PORTS = ("port", "dashboard-port", "dashboard-agent-listen-port", "metrics-export-port", "ray-client-server-port")
ANNOUNCED = "Ray runtime started"


def find_ports(count):
    """Ports nobody listens on at the moment, and none that Ray gives its workers."""
    with ExitStack() as held:
        sockets = [held.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]


@pytest.fixture
def submit(tmp_path, arguments):
    """submit(*words): the exit code of a job of a head that was started in tmp_path, and what it printed."""
    pytest.importorskip("aiohttp_cors", reason="ray[default] is not installed")
    ports = dict(zip(PORTS, find_ports(len(PORTS)), strict=True))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # of sockets, whose names may not be long
        options = [f"--{name}={port}" for name, port in ports.items()]
        head = subprocess.Popen(
            [*ray, "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=4", f"--temp-dir={folder}", *options],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            assert any(ANNOUNCED in line for line in head.stdout), "ray start ended"
            address = f"http://127.0.0.1:{ports['dashboard-port']}"
            with urllib.request.urlopen(f"{address}/api/gcs_healthz", timeout=30) as answer:
                assert answer.read() == b"success"

            def submit(*words):
                command = [*ray, "job", "submit", "--address", address, "--", *words]
                result = subprocess.run(
                    command, env=environment, capture_output=True, text=True, timeout=300, check=False
                )
                return result.returncode, result.stdout + result.stderr

            yield submit
        finally:
            head.terminate()
            head.communicate(timeout=60)


def test_entrypoints_train_and_sweep_on_the_cluster_of_the_job(submit, arguments, sweep_keys, tmp_path):
    *train, config = shlex.split(yaml.safe_load(TEMPLATE)["spec"]["entrypoint"].replace(" --gpus", ""))
    assert (train, config) == (["python", "launch/ray_train.py", "--workers", "1"], "configs/quickstart.yaml")
    train[1] = str(ROOT / train[1])
    exit_code, output = submit("env", f"RAY_STORAGE={tmp_path / 'ray'}", *train, *arguments, "run.dir=run")
    assert exit_code == 0, output
    assert json.loads((tmp_path / "run" / "disentangle" / "record.json").read_text())["facts"]["ranks"] == 1

    *sweep, config, concurrent, gpus = shlex.split(SWEEP)
    assert (sweep, config, gpus) == (["detaux", "sweep"], "configs/sweeps/quickstart.yaml", "sweep.gpus=1")
    exit_code, output = submit(*sweep, *arguments, concurrent, *sweep_keys, "run.dir=sweep")
    assert exit_code == 0, output
    assert (tmp_path / "sweep" / "best.yaml").is_file()
    assert "2 finished" in output
