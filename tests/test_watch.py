import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from detaux.cli import run_command
from detaux.config import load_config
from detaux.disentangle.train import run_disentangle
from detaux.runtime.metrics import MetricsLog, read_metrics
from detaux.watch import Training, draw_trend, format_value, is_finished, read_trainings
from shards.build import build_shards

LINE = {"steps": 400, "phase": "main", "seconds": 5.0, "loss/total": 0.5, "lr": 0.001, "beta/1": 1.0}


def write_lines(folder, steps, **values):
    with MetricsLog(folder, 0) as metrics:
        for step in steps:
            metrics.write({"step": step, **LINE, **values})


def start(run, *options):
    """The command in a terminal of its own: (process, read(until), which gives what it has shown once `until` is in it)."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "detaux", "watch", str(run), *options]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "50"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""

    def read(until):
        nonlocal shown
        deadline = time.monotonic() + 30
        while until.encode() not in shown and time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    shown += os.read(ours, 65536)
                except OSError:  # the process has gone
                    break
        assert until.encode() in shown, shown.decode()
        shown, had = b"", shown
        return had.decode()

    return process, read


def test_frame_shows_what_the_newest_line_says(tmp_path, capsys):
    values = {"oracle/share": [0.25, 0.75], "data_wait_share": 0.125, "memory_bytes": 3 * 2**30, "grad_norm": 2.5}
    write_lines(tmp_path / "disentangle", [100, 200], samples_per_second=12345.6, **values)
    assert run_command(["watch", str(tmp_path), "--once"]) == 0
    frame = capsys.readouterr().out
    rows = {tuple(line.strip("│ \n").split())[:-1] for line in frame.splitlines()}
    for row in (
        ("losses", "total", "0.5"),
        ("betas", "1", "1"),
        ("oracle", "use", "subspace", "0", "25.0%"),
        ("subspace", "1", "75.0%"),
        ("gradient", "norm", "grad_norm", "2.5"),
        ("samples", "a", "second", "samples_per_second", "12,346"),
        ("data", "wait", "data_wait_share", "12.5%"),
        ("memory", "memory_bytes", "3.00", "GiB"),
        ("learning", "rate", "lr", "0.001"),
    ):
        assert row in rows
    assert "step 200 of 400, main; about 0:00:10 left" in " ".join(frame.split())
    bars = [line.count("━") for line in frame.splitlines() if "subspace" in line]
    assert 2 * bars[0] < bars[1] <= 4 * bars[0]


def test_frame_shows_a_warning_of_an_earlier_line(tmp_path, capsys):
    write_lines(tmp_path / "disentangle", [100], warning="the oracle has collapsed")
    with MetricsLog(tmp_path / "disentangle", 100) as metrics:
        metrics.write({"step": 200, **LINE})
    assert run_command(["watch", str(tmp_path), "--once"]) == 0
    assert "the oracle has collapsed" in capsys.readouterr().out


def test_seconds_left_are_the_steps_left_at_the_newest_pace(tmp_path):
    lines = [{**LINE, "step": 100, "seconds": 99.0}, {**LINE, "step": 150, "seconds": 5.0}]
    assert Training(tmp_path, "x", lines).estimate_seconds_left() == 5.0 / 50 * (400 - 150)
    assert Training(tmp_path, "x", lines[:1]).estimate_seconds_left() is None


def test_every_restart_has_a_row_in_order(tmp_path, capsys):
    stage = tmp_path / "disentangle"
    for name, steps in ((".", 400), ("restart_2", 400), ("restart_10", 100)):
        write_lines(stage / name, [steps])
    assert [one.folder.name for one in read_trainings(stage)] == ["disentangle", "restart_2", "restart_10"]
    assert run_command(["watch", str(tmp_path), "--once"]) == 0
    frame = capsys.readouterr().out
    assert "─ disentangle/restart_10 ─" in frame
    rows = [line.split()[:4] for line in frame.splitlines() if " of 400" in line and "│" not in line]
    assert rows == [
        [name, steps, "of", "400"]
        for name, steps in (("disentangle", "400"), ("restart_2", "400"), ("restart_10", "100"))
    ]


def test_stage_is_finished_by_a_record_newer_than_its_lines(tmp_path):
    write_lines(tmp_path, [400])
    assert not is_finished(tmp_path)
    (tmp_path / "record.json").write_text("{}")
    assert is_finished(tmp_path)
    os.utime(tmp_path / "record.json", (1, 1))  # that of an earlier run
    assert not is_finished(tmp_path)


def test_terminal_is_redrawn_until_the_stage_is_finished(tmp_path):
    stage = tmp_path / "disentangle"
    write_lines(stage, [100])
    process, read = start(tmp_path)
    read("step 100 of 400")
    write_lines(stage, [100, 200])
    read("step 200 of 400")
    assert process.poll() is None
    (stage / "record.json").write_text("{}")
    read("the stage is finished")
    assert process.wait(timeout=30) == 0


def test_interrupted_watch_ends_without_a_complaint(tmp_path):
    write_lines(tmp_path / "disentangle", [100])
    process, read = start(tmp_path)
    read("step 100 of 400")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0


def test_piped_output_is_one_frame_in_plain_letters_where_the_encoding_has_no_others(tmp_path):
    write_lines(tmp_path / "disentangle", [100, 200], **{"oracle/share": [0.5, 0.5]})
    result = subprocess.run(
        [sys.executable, "-m", "detaux", "watch", str(tmp_path)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"step 200 of 400" in result.stdout.decode("ascii").encode()
    assert b"\x1b" not in result.stdout


def test_folder_of_no_restart_and_line_of_no_object_are_passed_over(tmp_path, capsys):
    write_lines(tmp_path / "disentangle", [100])
    write_lines(tmp_path / "disentangle" / "restart_old", [300])
    with (tmp_path / "disentangle" / "metrics.jsonl").open("a") as stream:
        stream.write("[1]\n")
    assert run_command(["watch", str(tmp_path), "--once"]) == 0
    shown = capsys.readouterr().out
    assert "step 100 of 400" in shown
    assert "restart_old" not in shown


def test_run_without_lines_exits_2_with_one_sentence(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    for run, expected in (("none", "is no run folder"), ("run", "has no line of metrics.jsonl yet")):
        assert run_command(["watch", str(tmp_path / run)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"detaux: {tmp_path / run} {expected}")
        assert error.count("\n") == 1


def test_watching_imports_no_torch(tmp_path):
    write_lines(tmp_path / "disentangle", [100])
    code = f"""
import sys
from detaux.cli import run_command
assert run_command(["watch", {str(tmp_path)!r}, "--once"]) == 0
print([name for name in ("torch", "numpy", "wandb", "tensorboard") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_real_training_shows_its_last_line(tmp_path, capsys):
    keys = ["data.source=digits", "data.side=16", "pairs.pool=64", "model.subspaces=3", "run.device=cpu"]
    phases = ["disentangle.warmup.steps=4", "disentangle.main.steps=6", "disentangle.main.batch_size=8"]
    config = load_config(None, [*keys, *phases, "disentangle.log_interval=2", "run.threads=1"])
    build_shards(config, tmp_path / "shards")
    run_disentangle(config, tmp_path / "shards", tmp_path / "disentangle")
    last = read_metrics(tmp_path / "disentangle")[-1]
    assert run_command(["watch", str(tmp_path), "--once"]) == 0
    frame = capsys.readouterr().out
    assert "step 10 of 10, main; the stage is finished" in " ".join(frame.replace("│", " ").split())
    for key in ("loss/total", "loss/distance", "grad_norm", "lr", "samples_per_second", "memory_bytes"):
        assert format_value(key, last[key]) in frame
    for share in last["oracle/share"]:
        assert f"{share:.1%}" in frame


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("loss/total", 0.123456, "0.1235"),
        ("loss/total", None, "-"),
        ("loss/total", float("nan"), "-"),
        ("data_wait_share", 0.0123, "1.2%"),
        ("samples_per_second", 1234567.8, "1,234,568"),
        ("memory_bytes", 2**29, "0.50 GiB"),
    ],
)
def test_value_is_shown_in_the_unit_of_its_key(key, value, shown):
    assert format_value(key, value) == shown


def test_trend_spans_the_levels_from_smallest_to_largest():
    assert draw_trend([0.0, 1.0, 0.4, 2.0], "abc") == "abac"
    assert draw_trend([3.0, 3.0], "abc") == "aa"
    assert draw_trend([], "abc") == ""


def test_lines_of_a_release_that_told_no_steps_are_shown(tmp_path, capsys):
    folder = tmp_path / "disentangle"
    folder.mkdir()
    old = {name: value for name, value in LINE.items() if name != "steps"}
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 7, **old}) + "\n")
    assert run_command(["watch", str(tmp_path), "--once"]) == 0
    assert "step 7 of 7" in capsys.readouterr().out
