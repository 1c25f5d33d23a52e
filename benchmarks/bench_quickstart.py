"""Run the quickstart on this machine: report seconds to disentangle and discover, V of the choice, and steps a second.

    python benchmarks/bench_quickstart.py [--config configs/quickstart.yaml] [--limit 600] [key=value ...]

It is one training (model.restarts=1) with seed 0. If the stages are not done after --limit seconds, it still reports
steps a second. Building the shards does not count.
"""

import argparse
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from results import append_row, name_machine, read_command
from study import build_set, run_once

from detaux.config import load_config
from detaux.runtime.device import select_device
from detaux.runtime.metrics import read_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/quickstart.yaml")
    parser.add_argument("--limit", type=float, default=600.0)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    keys = ["model.restarts=1", *arguments.overrides]
    device = select_device(load_config(arguments.config, keys).run)
    case = f"{Path(arguments.config).stem}, one training, {name_machine(device)}"
    add_row = partial(append_row, benchmark="quickstart", case=case, spread="one seed", command=read_command())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = build_set(arguments.config, folder, arguments.overrides)
        try:
            outcome = run_once(arguments.config, keys, 0, shards, folder / "run", arguments.limit)
        except subprocess.TimeoutExpired:
            print(f"{case}: not within {arguments.limit:g} s", flush=True)
            add_row(metric="disentangle and discover, not within", value=arguments.limit, unit="s")
        else:
            print(f"{case}: V {outcome.v_measure:.2f} ({outcome.factor}) after {outcome.seconds:.0f} s", flush=True)
            add_row(metric="disentangle and discover", value=outcome.seconds, unit="s")
            add_row(metric="V of the choice", value=outcome.v_measure, unit="")
        lines = read_metrics(folder / "run" / "disentangle")
        if seconds := sum(line["seconds"] for line in lines):
            print(f"{case}: {lines[-1]['step']} steps, {lines[-1]['step'] / seconds:.1f} a second", flush=True)
            add_row(metric="steps", value=lines[-1]["step"] / seconds, unit="1/s")


if __name__ == "__main__":
    main()
