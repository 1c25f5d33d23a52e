"""Measure how much shared warm-ups and ASHA save of the full grid of a sweep, with the same values in all cases.

    python benchmarks/bench_sweep.py [--config configs/sweeps/quickstart.yaml] [--trials 12] [--out runs/bench-sweep]

It runs three sweeps, one after the other, on one shard set: the full grid, in which every trial trains its own
warm-up and reaches its end; the same with shared warm-ups; and with shared warm-ups and ASHA. Values are drawn at
random with one seed, so that all sweeps try the same values.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet
from results import append_row
from study import build_set

from detaux.runtime.readers import read_json

CASES = {  # the first is the baseline
    "full grid": ("sweep.scheduler=none", "sweep.share_warmups=false"),
    "shared warm-ups": ("sweep.scheduler=none",),
    "shared warm-ups and ASHA": (),
}


@dataclass(frozen=True)
class Outcome:
    """Hold a sweep's wall time, its steps of both phases, and its best trial's objective and V with a known factor."""

    seconds: float
    steps: int
    objective: float
    v_measure: float


def run_case(config: str, keys: tuple[str, ...], folder: Path) -> Outcome:
    """Run `detaux sweep` in a process of its own, and read its results."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "detaux", "sweep", config, f"run.dir={folder}", *keys]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds, summary = time.monotonic() - begun, read_json(folder / "sweep.json", "run the sweep again")
    best = pyarrow.parquet.read_table(folder / "trials.parquet").to_pylist()[0]
    return Outcome(seconds, summary["steps"], summary["best_objective"], best["scored_after_v_measure"] or 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/sweeps/quickstart.yaml")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-sweep"))
    arguments = parser.parse_args()
    shards = build_set(arguments.config, arguments.out)
    shared = (f"data.shards={shards}", "sweep.searcher=random", f"sweep.trials={arguments.trials}")
    outcomes = {}
    for case, keys in CASES.items():
        one = run_case(arguments.config, (*shared, *keys), arguments.out / case.replace(" ", "-"))
        outcomes[case], whole = one, next(iter(outcomes.values()), one)
        rate, steps = 3600 * arguments.trials / one.seconds, one.steps / whole.steps
        print(
            f"{case:26} {one.seconds:6.0f} s, {rate:4.0f} trials/hour ({whole.seconds / one.seconds:.2f} x), "
            f"{one.steps:7,} steps ({steps:.0%}), best objective {one.objective:.4f}, its V {one.v_measure:.3f}",
            flush=True,
        )
        for metric, value, unit, ratio in (
            ("trials an hour", rate, "1/h", whole.seconds / one.seconds),
            ("steps", one.steps, "steps", steps),
            ("best objective", one.objective, "", None),
            ("V of the best", one.v_measure, "", None),
        ):
            append_row(
                benchmark="sweep",
                case=case,
                metric=metric,
                value=value,
                unit=unit,
                ratio=ratio,
                spread="one seed",
                command=f"python benchmarks/bench_sweep.py --config {arguments.config} --trials {arguments.trials}",
            )


if __name__ == "__main__":
    main()
