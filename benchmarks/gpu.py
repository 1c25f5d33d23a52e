"""Run all GPU measurements in eight minutes: print one table, and append rows to results.csv.

    make gpu                                                            make gpu PARTS="kernels step"
    python3 benchmarks/gpu.py [PART ...] [--wheels FOLDER] [--csv FILE]

A part is a few commands, and each command can also be run by itself. They run one after the other in their own
processes and share the part's time limit. If one fails or is stopped at the limit, the table names it and the rest
run. A part with missing packages is left out, unless --wheels names a folder that has them. Without a GPU the sizes
are small and show nothing about speed; then rows are kept only if --csv is given.
"""

import argparse
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from results import RESULTS, append_rows, name_machine, read_cpu, read_rows

ROOT = Path(__file__).parents[1]
SHOWN_LINES = 20  # of the output of a failed command
# files with tests marked gpu; other files of their folders need packages that a GPU machine may lack
TESTS = (
    "tests/data/test_stream.py",
    "tests/losses/test_tiles.py",
    "tests/losses/kernels/test_pair_measures.py",
    "tests/discover/test_backends.py",
    "tests/discover/clusterers/kernels/test_spanning_tree.py",
    "tests/multitask/test_fit.py",
)
CONFIG, DATA = ("omegaconf",), ("omegaconf", "webdataset", "braceexpand")


@dataclass(frozen=True)
class Part:
    """Describe a part: its time limit, commands on a GPU, commands on a CPU (none: it needs a GPU), needed modules."""

    seconds: float
    commands: tuple[str, ...]
    small: tuple[str, ...] = ()
    needs: tuple[str, ...] = CONFIG


PARTS = {
    "tests": Part(
        60,
        (f"-m pytest -q -p no:cacheprovider -m gpu {' '.join(TESTS)}",),
        needs=("pytest", "hypothesis", "sklearn", *DATA),
    ),
    "kernels": Part(
        50,
        (
            "benchmarks/bench_losses.py --normalizers mean_norm rms_distance --rounds 5 --repeats 10 --without torch.compile",
            "benchmarks/bench_losses.py --normalizers mean_distance --rounds 2 --repeats 2 --without torch.compile",
        ),
        ("benchmarks/bench_losses.py --sizes small_vector --rounds 1 --repeats 1 --without torch.compile",),
    ),
    "step": Part(
        50,
        tuple(
            f"benchmarks/bench_step.py --device cuda --pairs {pairs} --rounds 3 --steps {steps} --without compile"
            for pairs, steps in ((32, 12), (512, 12), (4096, 6))
        ),
        ("benchmarks/bench_step.py --pairs 2 --rounds 1 --steps 1 --without compile bf16",),
    ),
    "trainer": Part(
        50,
        ("benchmarks/bench_trainer.py --pairs 32 1024 8192 --seconds 4 data.side=64",),
        ("benchmarks/bench_trainer.py --pairs 4 --seconds 0.1 data.side=16 data.grid=[3,3,3,3,2,1]",),
        needs=DATA,
    ),
    "cluster": Part(
        60,
        (
            "benchmarks/bench_cluster.py --sizes 50000 --dims 10 --libraries torch cuml --rounds 1 --limit 30",
            "benchmarks/bench_cluster.py --sizes 480000 --dims 10 --libraries cuml torch --rounds 1 --limit 40",
        ),
        ("benchmarks/bench_cluster.py --sizes 600 --dims 4 --libraries torch cuml --rounds 1 --limit 60",),
        needs=("sklearn", *CONFIG),
    ),
    "methods": Part(
        60,
        (
            "benchmarks/bench_methods.py --device cuda --rounds 1 --steps 32 --side 64 --methods hard_sharing nddr maxl "
            "auxilearn",
        ),
        ("benchmarks/bench_methods.py --rounds 1 --steps 2 --methods hard_sharing",),
        needs=("scipy", *DATA),
    ),
    "bytes": Part(20, ("benchmarks/bench_host_bytes.py",), needs=("sklearn", *DATA)),
    "quickstart": Part(
        130,
        ("benchmarks/bench_quickstart.py --limit 110",),
        (
            "benchmarks/bench_quickstart.py --limit 100 data.side=16 data.grid=[3,3,3,3,2,1] disentangle.log_interval=5 "
            "disentangle.warmup.steps=10 disentangle.main.steps=10 disentangle.main.batch_size=8 discover.backend=torch",
        ),
        needs=("sklearn", *DATA),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """Hold how a part ended, in words, and its rows."""

    part: str
    words: str
    rows: list[dict[str, str]]
    is_failed: bool = False


def run_command(command: str, seconds: float, environment: dict[str, str]) -> tuple[int | None, str]:
    """Run python with the arguments of a command. Return its exit code and the last line of its output.

    The exit code is None if the command was stopped after `seconds`. The output is shown when the command has ended.
    The command leads a process group, which is killed when it ends.
    """
    print(f"\n$ python {command}", flush=True)
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            [sys.executable, *shlex.split(command)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=max(0.0, seconds))
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        lines = output.read().strip().splitlines()
    print("\n".join(lines[-SHOWN_LINES:] if code else lines), flush=True)
    return code, lines[-1] if lines else "no output"


def run_part(name: str, part: Part, commands: tuple[str, ...], environment: dict[str, str]) -> Outcome:
    """Run all commands of a part within its time limit."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.csv"
        faults, last = [], ""
        for command in commands:
            left = part.seconds - (time.monotonic() - begun)
            code, last = run_command(command, left, environment | {"RESULTS": str(rows)})
            if code != 0:
                faults.append(f"{'stopped at the limit' if code is None else f'exit code {code}, {last}'}: {command}")
        found = read_rows(rows)
    words = "; ".join(["failed", *faults]) if faults else "done" if found else last
    return Outcome(name, f"{words} ({time.monotonic() - begun:.0f} of {part.seconds:g} s)", found, bool(faults))


def run_parts(parts: dict[str, Part], *, on_gpu: bool, environment: dict[str, str]) -> Iterator[Outcome]:
    """Run the parts in turn, and leave out those that cannot run here."""
    for name, part in parts.items():
        commands = part.commands if on_gpu else part.small
        missing = [module for module in part.needs if importlib.util.find_spec(module) is None]
        if not commands:
            yield Outcome(name, "left out: it needs a GPU", [])
        elif missing:
            yield Outcome(name, f"left out: these packages are not here: {', '.join(missing)}", [])
        else:
            yield run_part(name, part, commands, environment)


def install_missing(wheels: Path, parts: dict[str, Part], folder: str) -> None:
    """Unpack the missing packages from a folder of wheels into `folder`, and let imports find them."""
    for module in sorted({module for part in parts.values() for module in part.needs}):
        if importlib.util.find_spec(module) is None:
            options = ["--quiet", "--no-index", "--no-deps", "--find-links", str(wheels), "--target", folder]
            subprocess.run([sys.executable, "-m", "pip", "install", *options, module], check=False)
    sys.path.append(folder)
    importlib.invalidate_caches()


def print_table(outcomes: list[Outcome], machine: str) -> None:
    """Print a line for each measurement, and a line for each part that says how it ended."""
    print(f"\n{machine}\n{'part':11} {'case':76} {'metric':34} {'value':>11} {'unit':5} {'ratio':>7}")
    for outcome in outcomes:
        for row in outcome.rows:
            ends = f"{row['value']:>11} {row['unit']:5} {row['ratio']:>7}"
            print(f"{outcome.part:11} {row['case']:76} {row['metric']:34} {ends}")
        print(f"{outcome.part:11} {outcome.words}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--wheels", type=Path, help="folder of wheels for packages that are missing here")
    parser.add_argument("--csv", type=Path, help=f"where rows go; on a GPU {RESULTS.name} of this folder by default")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.parts if name not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; the parts are {', '.join(PARTS)}")
    parts = {name: PARTS[name] for name in arguments.parts or PARTS}
    on_gpu = torch.cuda.is_available()
    machine = name_machine(torch.device("cuda" if on_gpu else "cpu"))
    print(
        f"{machine}, {read_cpu()}, torch {torch.__version__}; at most {sum(part.seconds for part in parts.values()):g} s"
    )
    if not on_gpu:
        print("There is no GPU here: sizes are small and tell nothing about speed.")
    with tempfile.TemporaryDirectory() as folder:
        if arguments.wheels:
            install_missing(arguments.wheels, parts, folder)
        places = [str(ROOT), folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "PYTHONUNBUFFERED": "1"}
        outcomes, target = [], arguments.csv or (RESULTS if on_gpu else None)
        for outcome in run_parts(parts, on_gpu=on_gpu, environment=environment):
            outcomes.append(outcome)
            if target and outcome.rows:  # after each part, because the machine may be gone before the last one ends
                append_rows(outcome.rows, target)
    print_table(outcomes, machine)
    if target:
        print(f"\nThe rows are in {target}.")
    sys.exit(any(outcome.is_failed for outcome in outcomes))


if __name__ == "__main__":
    main()
