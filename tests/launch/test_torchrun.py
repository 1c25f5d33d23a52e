"""launch/torchrun.sh on two hosts, which are two network namespaces of this machine joined by a cable of their own, and on
this machine as `detaux launch torchrun` starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "torchrun.sh"
HOSTS = {"a": "10.213.77.1", "b": "10.213.77.2"}
PORT = 29417


def ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)


@pytest.fixture
def hosts():
    """Names of two network namespaces that reach each other, and nothing else."""
    spaces = {host: f"detaux-{os.getpid()}-{host}" for host in HOSTS}
    try:
        for space in spaces.values():
            ip("netns", "add", space)
        ip(
            "link",
            "add",
            "cable-a",
            "netns",
            spaces["a"],
            "type",
            "veth",
            "peer",
            "name",
            "cable-b",
            "netns",
            spaces["b"],
        )
        for host, space in spaces.items():
            ip("-n", space, "addr", "add", f"{HOSTS[host]}/24", "dev", f"cable-{host}")
            ip("-n", space, "link", "set", f"cable-{host}", "up")
            ip("-n", space, "link", "set", "lo", "up")
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        pytest.skip(f"network namespaces are not to be had here: {reason}")
    yield spaces
    for space in spaces.values():
        subprocess.run(["ip", "netns", "delete", space], check=False)


def start(folder, arguments, prefix=(), **variables):
    """The script with these arguments, in `folder`."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.Popen(
        [*prefix, "bash", str(SCRIPT), *arguments, f"run.dir={variables['RUN']}"],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_two_hosts_take_the_steps_of_two_ranks_on_one(tmp_path, arguments, hosts, read_losses):
    one = start(tmp_path, arguments, RANKS="2", RUN="one")
    output, _ = one.communicate(timeout=120)
    assert one.returncode == 0, output

    two = [
        start(
            tmp_path,
            arguments,
            ("ip", "netns", "exec", space),
            RANKS="1",
            NNODES="2",
            HEAD=f"{HOSTS['a']}:{PORT}",
            LOCAL_ADDR=HOSTS[host],
            GLOO_SOCKET_IFNAME=f"cable-{host}",
            RUN="two",
        )
        for host, space in hosts.items()
    ]
    outputs = [process.communicate(timeout=120)[0] for process in two]
    assert [process.returncode for process in two] == [0, 0], outputs
    assert len(read_losses(tmp_path / "one")) == 6
    assert read_losses(tmp_path / "two") == pytest.approx(read_losses(tmp_path / "one"), rel=1e-6)


@pytest.mark.slow
def test_launch_command_starts_the_script_with_ranks_of_this_machine(tmp_path, arguments):
    command = [sys.executable, "-m", "detaux", "launch", "torchrun", *arguments, "gpus=2", "run.dir=two"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert json.loads((tmp_path / "two" / "disentangle" / "record.json").read_text())["facts"]["ranks"] == 2
