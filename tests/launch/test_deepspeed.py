"""launch/deepspeed.sh under DeepSpeed's own launcher, with two ranks of this machine's processor."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(command, folder, environment):
    """The command's output; its whole session ends with it."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=180)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_two_ranks_of_deepspeed_take_the_steps_of_one_process(tmp_path, arguments, free_port, read_losses, fork_server):
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DS_ACCELERATOR": "cpu",
        "OPTIONS": f"--num_gpus 2 --master_port {free_port}",  # its word for ranks, whatever they run on
    }
    one = fork_server.start(["-m", "detaux", "disentangle", *arguments, "run.dir=one"], cwd=tmp_path)
    output, _ = one.communicate(timeout=180)
    assert one.returncode == 0, output
    output = run(["bash", str(ROOT / "launch" / "deepspeed.sh"), *arguments, "run.dir=two"], tmp_path, environment)
    assert "ranks 2, engine deepspeed" in output
    # rounding, which a ReLU near its kink makes larger; tests/disentangle/test_ranks.py holds the engine to 1e-6
    assert read_losses(tmp_path / "two") == pytest.approx(read_losses(tmp_path / "one"), rel=1e-3)
