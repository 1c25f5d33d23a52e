"""launch/slurm.sbatch with stand-ins for Slurm's two commands; the ranks are real."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detaux.config import load_config

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "slurm.sbatch"
# starts a task for each rank, as srun does, passes signals on, and returns the highest exit code
SRUN = """#!/usr/bin/env bash
echo $$ > srun.pid
while [[ $1 == --* ]]; do shift; done
export SLURM_NTASKS=${TASKS:-2}
for ((rank = 0; rank < SLURM_NTASKS; rank++)); do SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" & tasks+=($!); done
trap 'kill -USR1 "${tasks[@]}"' USR1
highest=0
for task in "${tasks[@]}"; do
  while :; do
    wait "$task"; status=$?
    kill -0 "$task" 2>/dev/null || break
  done
  (( status > highest )) && highest=$status
done
exit "$highest"
"""
SCONTROL = """#!/usr/bin/env bash
case $1 in
  show) echo 127.0.0.1 ;;
  requeue) echo "$2" >> requeued ;;
esac
"""


@pytest.fixture
def submit(tmp_path, arguments):
    """Start the script as a job of two tasks."""
    tools = tmp_path / "bin"
    tools.mkdir()
    python = f'#!/usr/bin/env bash\nexec {sys.executable} "$@"\n'
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("python", python)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    started = []

    def start(*keys, **variables):
        environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        environment |= {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "node[0-1]"} | variables
        command = ["bash", str(SCRIPT), *arguments, "run.dir=run", *keys]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_job_runs_to_its_end_and_is_not_put_back(submit, tmp_path):
    process = submit()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "disentangle: wrote run/disentangle" in output
    assert not (tmp_path / "requeued").exists()


def test_job_signalled_before_its_time_limit_checkpoints_and_goes_back_into_the_queue(submit, tmp_path):
    process = submit("disentangle.main.steps=1000000")
    checkpoints = tmp_path / "run" / "disentangle" / "checkpoint"
    deadline = time.monotonic() + 90
    while not list(checkpoints.glob("step-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    srun = int((tmp_path / "srun.pid").read_text())
    os.kill(srun, signal.SIGUSR1)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 138, output
    assert re.search("detaux(, rank 1)?: stopped by signal 10", output)  # a signal between two loops is not voted on
    assert (tmp_path / "requeued").read_text() == f"{os.getpid()}\n"


@pytest.mark.slow
def test_job_of_an_array_trains_with_its_own_seed_in_its_own_folder(submit, tmp_path):
    process = submit("run.seed={task}", "run.dir=runs/seed-{task}", SLURM_ARRAY_TASK_ID="3")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert load_config(tmp_path / "runs" / "seed-3" / "disentangle" / "config.yaml").run.seed == 3
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["seed-3"]


@pytest.mark.slow
def test_sweep_is_a_job_of_one_task(submit, sweep_keys, tmp_path):
    process = submit(*sweep_keys, STAGE="sweep", TASKS="1", RAY_AUTH_MODE="disabled")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert (tmp_path / "run" / "best.yaml").is_file()
    process = submit(*sweep_keys, STAGE="sweep", TASKS="2", RAY_AUTH_MODE="disabled")
    assert "starts its own processes" in process.communicate(timeout=120)[0]
