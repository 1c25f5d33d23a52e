"""Compare time and memory of the multi-task methods with single-task learning: interleaved rounds in one run.

    python benchmarks/bench_methods.py [key=value ...] [--side 32] [--steps 32] [--rounds 3] [--device cuda]
        [--methods stl hard_sharing ...]

Each method trains one pass of `--steps` steps on made pictures with two classes and ten discovered labels, each time
in its own process. Seconds are those of the whole pass, so a method that passes twice takes twice as long. The ratio
is the median of the rounds' own ratios to STL. Memory is the peak of the process above that of its imports (on a GPU, the
most that torch allocated), and its largest round counts.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from functools import partial

import torch
from results import append_row, name_machine, read_command

from detaux.config import load_config
from detaux.config.schema.methods import METHODS
from detaux.multitask.batches import TrainingData
from detaux.multitask.fit import train_trial
from detaux.multitask.methods import find_method
from detaux.multitask.trial import Trial

BASELINE = "stl"
CLASSES, HIDDEN = 2, 10


def train(method: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Train one pass, and return its cost. The first pass of two is not measured, because it fills caches."""
    before = read_peak()
    torch.set_num_threads(arguments.threads)
    keys = ["multitask.epochs=1", *arguments.overrides]
    config = load_config(None, keys).multitask
    count, side, device = arguments.steps * config.batch_size, arguments.side, arguments.device
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, side, side, 3), dtype=torch.uint8, generator=generator).to(device)
    principal = (torch.arange(count) % CLASSES).to(device)
    reads = find_method(method).reads_labels
    auxiliary = (torch.arange(count) % HIDDEN).to(device) if reads else None
    data = TrainingData(images, principal, auxiliary, [CLASSES, HIDDEN] if reads else [CLASSES], noise=0.0)
    held_out = images[: config.batch_size], principal[: config.batch_size]
    for _ in range(2):
        _, best, _ = train_trial(Trial(method, "discovered" if reads else "none", 1.0, 0), config, data, held_out)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else read_peak() - before
    return {"seconds": best["seconds"], "parameters": best["parameters"], "bytes": peak}


def read_peak() -> int:
    """Return the peak resident bytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(method: str) -> dict[str, float]:
    """Run this program for one method in a process of its own, and return what it prints."""
    command = [sys.executable, *sys.argv, "--only", method]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, metavar="METHOD", default=[name for name in METHODS if "+" not in name]
    )
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--only", help="measure this method in this process and print JSON")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    if arguments.only:
        print(json.dumps(train(arguments.only, arguments)))
        return
    methods = list(dict.fromkeys([BASELINE, *arguments.methods]))
    rounds = [{method: measure(method) for method in methods} for _ in range(arguments.rounds)]
    add_row = partial(append_row, benchmark="methods", command=read_command())
    print("| method | parameters | seconds a pass | time / STL | memory / STL |\n" + "| --- " * 5 + "|")
    for method in methods:
        found = [one[method] for one in rounds]
        seconds = statistics.median(one["seconds"] for one in found)
        ratios = sorted(one[method]["seconds"] / one[BASELINE]["seconds"] for one in rounds)
        memory = max(one["bytes"] for one in found)
        share = memory / max(one[BASELINE]["bytes"] for one in rounds)
        ratio, spread = statistics.median(ratios), f"{ratios[0]:.2f}-{ratios[-1]:.2f}"
        print(
            f"| {method} | {found[0]['parameters']:,.0f} | {seconds:.2f} | {ratio:.2f} ({spread}) | {share:.2f} |",
            flush=True,
        )
        case = f"{method}, {arguments.side} px, {arguments.steps} steps, {name_machine(arguments.device)}"
        add_row(case=case, metric="time", value=seconds, unit="s", ratio=ratio, spread=spread)
        add_row(case=case, metric="peak memory", value=memory / 2**20, unit="MiB", ratio=share, spread="largest round")


if __name__ == "__main__":
    main()
