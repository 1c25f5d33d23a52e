"""Run each command of docs/cluster.md on tiny data, unless the page says that it is not run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from detaux.cli import run_command
from detaux.config import load_config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines() if line]
MARK = "not run here"
COMMANDS = {line.partition(" # ")[0].strip(): MARK in line for line in LINES}  # -> whether it is marked
OF_OTHERS = ("sbatch", "kubectl", "docker", "ray", "wandb")  # programs that a test cannot run
TINY = (
    "data.source=digits data.grid=[] data.side=8 pairs.pool=64 model.subspaces=3 model.latent=4 model.restarts=1 run.threads=1 "
    "disentangle.warmup.steps=10 disentangle.warmup.batch_size=8 disentangle.main.steps=20 disentangle.main.batch_size=8 "
    "discover.min_cluster_size=5 discover.max_outlier_fraction=1 discover.min_oracle_fraction=0 discover.stability_samples=1 "
    "multitask.epochs=1 multitask.least_steps=0 multitask.seeds=2 multitask.weights=[0.1] multitask.controls=[]"
)
TINY_SWEEP = "sweep.trials=2 sweep.scheduler=none 'sweep.space={losses.distance.margin: {log: [0.1, 2]}}'"
LEFT = (  # what the commands leave, beside what they printed
    "runs/laptop/report/report.html",
    "runs/ranks/report/report.html",
    "runs/gpus/disentangle/record.json",
    "runs/launched/disentangle/record.json",
    "runs/deepspeed/disentangle/record.json",
    "runs/ray/disentangle/record.json",
    "runs/sweep/best.yaml",
    "runs/tracked/disentangle/record.json",
    *("job.sbatch", "job.yaml", "trainjob.yaml", "cluster.yaml", "job.sh"),
)


def split_command(command):
    """Return (variables, words) of a command, without its redirection."""
    words = shlex.split(command.partition(" > ")[0])
    count = next(index for index, word in enumerate(words) if not re.match(r"[A-Z_]+=", word))
    return words[:count], words[count:]


def shrink(command):
    """Return the command, with keys for tiny data if it trains."""
    if "--dry-run" in command or " configs/" not in command:
        return command
    return f"{command} {TINY} {TINY_SWEEP if 'detaux sweep' in command else ''}"


def test_page_says_each_command_once():
    assert len(COMMANDS) == len(LINES) > 25


@pytest.mark.parametrize("command", [command for command, is_marked in COMMANDS.items() if not is_marked])
def test_command_without_the_mark_can_be_run_here(command):
    _, words = split_command(command)
    assert words[0] not in OF_OTHERS
    assert words[0] == "detaux" or any((ROOT / word).is_file() for word in words if word.startswith("launch/"))


@pytest.mark.parametrize("command", COMMANDS)
def test_command_names_files_keys_and_words_that_exist(command, parse, monkeypatch):
    monkeypatch.chdir(ROOT)
    _, words = split_command(command)
    for program in ("detaux", "launch/"):  # also after `ray job submit --` and `sbatch`
        places = [index for index, word in enumerate(words) if word.startswith(program)]
        if not places or words[:2] == ["docker", "build"]:
            continue
        rest = [word.replace("{task}", "0") for word in words[places[0] + 1 :]]
        if program == "detaux":
            if not any(word.startswith("runs/") and word.endswith(".yaml") for word in rest):
                parse(rest)
        else:
            script = ROOT / words[places[0]]
            assert script.is_file()
            assert places[0] > 0 or os.access(script, os.X_OK)
            config = next(index for index, word in enumerate(rest) if word.startswith("configs/"))
            load_config(rest[config], rest[config + 1 :])


@pytest.mark.parametrize("command", [command for command in COMMANDS if "--dry-run" in command])
def test_dry_run_prints_a_file_without_a_warning(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert run_command(split_command(command)[1][1:]) == 0
    output = capsys.readouterr()
    assert len(output.out.splitlines()) > 20
    assert output.err == ""


@pytest.mark.slow
def test_commands_run_one_after_the_other_in_one_folder(tmp_path):
    pytest.importorskip("deepspeed")
    for folder in ("configs", "launch"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WANDB_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DS_ACCELERATOR": "cpu",
        "RAY_AUTH_MODE": "disabled",
    }
    for command in (command for command, is_marked in COMMANDS.items() if not is_marked):
        result = subprocess.run(
            ["bash", "-c", shrink(command)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}{result.stderr[-3000:]}"
    assert [path for path in LEFT if not (tmp_path / path).is_file()] == []
