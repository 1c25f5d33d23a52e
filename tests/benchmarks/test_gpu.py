import csv
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
ROW = """
import csv, os, sys
is_new = not os.path.exists(os.environ["RESULTS"])
with open(os.environ["RESULTS"], "a") as stream:
    stream.write("case,metric,value,unit,ratio\\n" * is_new + "one,m,2,s,\\n")
sys.exit(*sys.argv[1:])
"""


@pytest.fixture
def program(load):
    return load("gpu")


@pytest.fixture
def run(program, capsys):
    """run(parts): outcomes by part as on a GPU, and the table that they make."""

    def run_them(parts, *, on_gpu=True):
        outcomes = list(program.run_parts(parts, on_gpu=on_gpu, environment=dict(os.environ)))
        capsys.readouterr()
        program.print_table(outcomes, "a card")
        return {outcome.part: outcome for outcome in outcomes}, capsys.readouterr().out

    return run_them


def test_part_that_fails_is_told_and_the_others_run(program, run, tmp_path):
    """A crash as of an illegal memory access, an error between two commands, and what is not there."""
    row = tmp_path / "row.py"
    row.write_text(ROW)
    parts = {
        "crash": program.Part(30, ('-c "import os; os.abort()"',), needs=()),
        "error": program.Part(30, (f"{row}", f"{row} odd", f"{row}"), needs=()),
        "lacking": program.Part(30, ('-c "print(1)"',), needs=("no_such_module", "torch")),
        "silent": program.Part(30, ("-c \"print('68 passed')\"",), needs=()),
    }
    outcomes, table = run(parts)
    assert {name: outcome.is_failed for name, outcome in outcomes.items()} == {
        "crash": True,
        "error": True,
        "lacking": False,
        "silent": False,
    }
    assert "exit code -6" in outcomes["crash"].words
    assert outcomes["error"].words.startswith(f"failed; exit code 1, odd: {row} odd (")
    assert outcomes["lacking"].words == "left out: these packages are not here: no_such_module"
    assert outcomes["silent"].words.startswith("68 passed")
    assert [row["value"] for row in outcomes["error"].rows] == ["2"] * 3
    for outcome in outcomes.values():
        assert f"{outcome.part:11} {outcome.words}" in table
    assert table.count("error       one") == 3


def test_part_past_its_limit_is_stopped_with_its_children(program, run, tmp_path):
    child = f"import time; time.sleep(3); open({str(tmp_path / 'late')!r}, 'w')"
    hang = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {child!r}])'
    (tmp_path / "hang.py").write_text(hang)
    parts = {
        "hang": program.Part(1, (str(tmp_path / "hang.py"), '-c "print(1)"'), needs=()),
        "next": program.Part(30, ("-c \"print('on')\"",), needs=()),
    }
    begun = time.monotonic()
    outcomes, _ = run(parts)
    assert outcomes["hang"].words.startswith(f"failed; stopped at the limit: {tmp_path / 'hang.py'}")
    assert outcomes["next"].words.startswith("on")
    time.sleep(max(0.0, begun + 5 - time.monotonic()))
    assert not (tmp_path / "late").exists()


def test_part_that_needs_a_gpu_is_left_out_without_one(program, run):
    outcomes, _ = run({"tests": program.Part(30, ('-c "print(1)"',), needs=())}, on_gpu=False)
    assert outcomes["tests"].words == "left out: it needs a GPU"


def test_parts_take_eight_minutes_at_most_and_name_programs_that_exist(program):
    assert sum(part.seconds for part in program.PARTS.values()) <= 480
    commands = [command for part in program.PARTS.values() for command in (*part.commands, *part.small)]
    assert all((ROOT / command.split()[0]).is_file() for command in commands if not command.startswith("-m "))


def test_every_file_with_tests_marked_gpu_is_run(program):
    marked = [
        path for path in (ROOT / "tests").rglob("*.py") if "pytest.mark." + "gpu" in path.read_text(encoding="utf-8")
    ]
    assert {str(path.relative_to(ROOT)) for path in marked} == set(program.TESTS)


def call(*arguments):
    place = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RESULTS")}
    command = [sys.executable, "benchmarks/gpu.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=place, capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="sizes would not be small")
@pytest.mark.parametrize(
    "parts", [("kernels", "bytes"), pytest.param((), marks=pytest.mark.slow)], ids=["two parts", "all parts"]
)
def test_run_without_a_gpu_is_small_and_keeps_rows_where_it_is_told(parts, tmp_path):
    before = (ROOT / "benchmarks" / "results.csv").read_bytes()
    result = call(*parts, "--csv", str(tmp_path / "rows.csv"))
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
    assert "There is no GPU here: sizes are small" in result.stdout
    assert "bytes       left out: it needs a GPU" in result.stdout
    with (tmp_path / "rows.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    wanted = {"losses"} if parts else {"losses", "step", "trainer", "cluster", "quickstart"}
    assert {row["benchmark"] for row in rows} == wanted
    assert all("CPU" in row["case"] for row in rows)
    assert all(row["case"] in result.stdout for row in rows)
    assert (ROOT / "benchmarks" / "results.csv").read_bytes() == before


def test_part_that_does_not_exist_is_refused(program, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "kernel"])
    with pytest.raises(SystemExit):
        program.main()
    assert "there is no part kernel; the parts are tests, kernels" in capsys.readouterr().err


def test_packages_that_are_missing_come_from_a_folder_of_wheels(program, tmp_path, monkeypatch):
    """A wheel by hand: a zip of the module and what pip wants to know."""
    name = "a_package_of_this_test"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "VALUE = 3\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    parts = {"one": program.Part(30, (f"-c 'import {name}; print({name}.VALUE)'",), needs=(name, "torch"))}
    folder = str(tmp_path / "site")
    program.install_missing(tmp_path, parts, folder)
    (outcome,) = program.run_parts(parts, on_gpu=True, environment=os.environ | {"PYTHONPATH": folder})
    assert outcome.words.startswith("3 ")


def test_host_bytes_are_those_of_copies_from_the_device(load):
    trace = {
        "traceEvents": [
            {"name": "Memcpy DtoH (Device -> Pageable)", "cat": "gpu_memcpy", "args": {"bytes": 40}},
            {"name": "Memcpy DtoH (Device -> Pinned)", "cat": "gpu_memcpy", "args": {"bytes": 2}},
            {"name": "Memcpy HtoD (Pageable -> Device)", "cat": "gpu_memcpy", "args": {"bytes": 700}},
            {"name": "cudaMemcpyAsync", "cat": "cuda_runtime", "args": {}},
            {"name": "process_name", "args": {"name": "python"}},
        ]
    }
    assert load("bench_host_bytes").count_host_bytes(trace) == 42
