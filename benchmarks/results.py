"""Append measurements to benchmarks/results.csv, one row each; rows are never edited.

The environment variable RESULTS names another file, for example to keep the rows of a trial run out.
"""

import csv
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch

RESULTS = Path(os.environ.get("RESULTS") or Path(__file__).with_name("results.csv"))
COLUMNS = (
    "date",
    "commit",
    "benchmark",
    "case",
    "metric",
    "value",
    "unit",
    "ratio",
    "spread",
    "python",
    "torch",
    "cpu",
    "command",
)


def append_row(
    *,
    benchmark: str,
    case: str,
    metric: str,
    value: float,
    unit: str,
    command: str,
    ratio: float | None = None,
    spread: str = "",
    commit: str | None = None,
    path: Path = RESULTS,
) -> None:
    """Append a measurement with its time, commit, versions and processor.

    `case` ends with name_machine(device) if the benchmark can run on a GPU. `ratio` is to the benchmark's baseline, or
    None if it has none. `spread` describes the range over rounds. `commit` is the one that made a kept result, or None
    for the current commit.
    """
    row = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit or read_commit(),
        "benchmark": benchmark,
        "case": case,
        "metric": metric,
        "value": f"{value:.6g}",
        "unit": unit,
        "ratio": "" if ratio is None else f"{ratio:.4g}",
        "spread": spread,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu": read_cpu(),
        "command": command,
    }
    append_rows([row], path)


def append_rows(rows: list[dict[str, str]], path: Path) -> None:
    """Append rows that have a value for each of COLUMNS. A new file starts with a header."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file, or none if it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def name_machine(device: torch.device) -> str:
    """Return the name of the GPU, or "CPU"; the column `cpu` has the name of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def read_command() -> str:
    """Return the command line of this benchmark, as typed in the checkout."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def read_commit() -> str:
    """Return the short hash of the checkout, with "+" if files differ from it; "unknown" outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=10", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def read_cpu() -> str:
    """Return the name of the processor, if the system reports it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
