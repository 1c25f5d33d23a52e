"""Measure the step on one and two ranks, and check a model of it that predicts the step on many GPUs.

    python benchmarks/bench_scaling.py [--config configs/quickstart.yaml] [--rounds 5] [--steps 20] [key=value ...]

It interleaves, round by round, steps of one rank with B pairs and with B / 2, and of two ranks (gloo, this machine).
The two ranks share B (strong scaling) or have B each (weak scaling). `speed-up` compares the pairs/s with those of
one rank with B. Two separate processes run as well (`two alone`), because their speed-up is the most that the
machine's cores allow.

The model, in seconds:   step(N) = slowest(N) + reduce(N)
    slowest   the longest of N computations, data included, since each step waits for it. It is drawn from the steps
              of two separate processes with the batch of one rank. Many GPUs are taken to be alike, so it is the step
              of any one.
    reduce    one all-reduce of the gradients that does not overlap with computation, the quicker of a ring,
              2 (N - 1) latency + 2 (N - 1) / N bytes / bandwidth, and a tree, 2 log2(N) (latency + bytes / bandwidth).
              S small all-reduces of batch statistics add S 2 log2(N) latency.

The model leaves out what grows with the batch of all ranks: `mean_distance` and the principal contrast compare each
image of a rank with all images of all ranks. This is little at 32 pairs and would be most of the step at half a
million. The latency and bandwidth are fitted to all-reduces of two sizes on this machine. Compare `modelled` with
`measured` to judge the model. For 8, 64 and 512 GPUs, the formula takes numbers that this machine cannot give: they
are ASSUMPTIONS, and the output says so.
"""

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from bench_trainer import build_trainer
from results import append_row

from detaux.config import Config, load_config
from detaux.pipeline import make_shards
from detaux.runtime.ranks import is_first, join_ranks, world_size

WARM = 5
SMALL, LARGE = 2**8, 2**22  # bytes of the two all-reduces that the network is fitted to
STATISTICS = 5  # small exchanges of a step: 2 for the normaliser, 1 and 1 backward for the contrast, 1 for the vote
# Assumed, not measured: NCCL inside a machine of 8 GPUs and between machines, at half of the published rates
NETWORKS = {8: (15e-6, 200e9), 64: (25e-6, 20e9), 512: (35e-6, 20e9)}
ASSUMED_PAIRS_PER_SECOND = 100_000  # on one H100: a goal of the project, not a measurement
ASSUMED_PAIRS = 1024  # per GPU


def time_reduce(size: int, repeats: int) -> float:
    """Return the seconds of an all-reduce of `size` bytes."""
    values = torch.zeros(size // 4)
    torch.distributed.all_reduce(values)
    torch.distributed.barrier()
    begun = time.perf_counter()
    for _ in range(repeats):
        torch.distributed.all_reduce(values)
    return (time.perf_counter() - begun) / repeats


def measure(config: Config, shards: Path, steps: int) -> dict[str, Any]:
    """Measure the seconds of each step on this rank, their mean and the bytes of the gradients.

    If there are other ranks, it also measures the seconds of two all-reduces.
    """
    trainer = build_trainer(config, shards, torch.device("cpu"))
    for step in range(WARM):
        trainer.step(step)
    times = [time.perf_counter()]
    for step in range(WARM, WARM + steps):
        trainer.step(step)
        times.append(time.perf_counter())
    durations = [after - before for before, after in pairwise(times)]
    found: dict[str, Any] = {"step": statistics.mean(durations), "durations": durations}
    found["gradient_bytes"] = sum(parameter.numel() * 4 for parameter in trainer.model.parameters())
    if world_size() > 1:
        found |= {"small": time_reduce(SMALL, 50), "large": time_reduce(LARGE, 10)}
    return found


def run_rank(arguments: argparse.Namespace) -> None:
    config = load_config(arguments.config, arguments.overrides)
    with join_ranks(torch.device("cpu")):
        torch.set_num_threads(1)
        found = measure(config, Path(arguments.shards), arguments.steps)
        if is_first():
            print(json.dumps(found))


def start(ranks: int, arguments: argparse.Namespace, shards: Path, pairs: int) -> list[subprocess.Popen[str]]:
    """Start the processes of a run of `ranks` ranks, which share `pairs` pairs a step."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, "--config", arguments.config, "--steps", str(arguments.steps)]
    command += ["--shards", str(shards), *arguments.overrides, f"disentangle.main.batch_size={pairs}"]
    place = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            command,
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(ranks)
    ]


def finish(processes: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    outputs = [process.communicate()[0] for process in processes]
    return [json.loads(output.splitlines()[-1]) for output in outputs if output]


def find_slowest(durations: list[float], ranks: int) -> float:
    """Return the expected longest of `ranks` durations drawn from the measured ones."""
    ordered, count = sorted(durations), len(durations)
    chances = [((place + 1) / count) ** ranks - (place / count) ** ranks for place in range(count)]
    return sum(chance * duration for chance, duration in zip(chances, ordered, strict=True))


def predict(slowest: float, gradient_bytes: float, ranks: int, latency: float, bandwidth: float) -> float:
    """Return the seconds of a step of `ranks` ranks by the model."""
    ring = 2 * (ranks - 1) * latency + 2 * (ranks - 1) / ranks * gradient_bytes / bandwidth
    tree = 2 * math.log2(ranks) * (latency + gradient_bytes / bandwidth)
    return slowest + min(ring, tree) + STATISTICS * 2 * math.log2(ranks) * latency


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/quickstart.yaml")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--shards", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    if arguments.shards:
        run_rank(arguments)
        return
    pairs = arguments.pairs
    cases = {"one rank, B": [(1, pairs)], "one rank, B / 2": [(1, pairs // 2)]}
    cases |= {"two alone, B": [(1, pairs)] * 2, "two alone, B / 2": [(1, pairs // 2)] * 2}
    cases |= {"two ranks share B": [(2, pairs)], "two ranks, B each": [(2, 2 * pairs)]}
    rounds: dict[str, list[dict[str, Any]]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder) / "shards"
        make_shards(load_config(arguments.config, arguments.overrides), shards, "the benchmark")
        for _ in range(arguments.rounds):
            for case, runs in cases.items():
                started = [start(ranks, arguments, shards, size) for ranks, size in runs]
                found = [finish(processes)[0] for processes in started]
                durations = [duration for one in found for duration in one.pop("durations")]
                means = {name: statistics.mean(one[name] for one in found) for name in found[0]}
                rounds[case].append({**means, "durations": durations})
    report(rounds, arguments, pairs)


def report(rounds: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace, pairs: int) -> None:
    """Print the measurements, the model's values for them and its predictions, and append the rows."""

    def median(case: str, name: str = "step") -> float:
        return statistics.median(one[name] for one in rounds[case])

    sizes = {
        "one rank, B": 1,
        "one rank, B / 2": 0.5,
        "two alone, B": 2,
        "two alone, B / 2": 1,
        "two ranks share B": 1,
        "two ranks, B each": 2,
    }
    base = [one["step"] for one in rounds["one rank, B"]]
    print(f"\n{'case':20} {'step ms':>8} {'pairs/s':>8} {'speed-up':>8}  spread")
    for case, size in sizes.items():
        ratios = [size * one / other["step"] for one, other in zip(base, rounds[case], strict=True)]
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        rate, ratio = size * pairs / median(case), statistics.median(ratios)
        print(f"{case:20} {median(case) * 1e3:8.2f} {rate:8.0f} {ratio:8.2f}  {spread}")
        append_row(
            benchmark="scaling",
            case=case,
            metric="pairs/s",
            value=rate,
            unit="1/s",
            ratio=ratio,
            spread=spread,
            command=f"python benchmarks/bench_scaling.py --config {arguments.config} --rounds {arguments.rounds} "
            f"--steps {arguments.steps} --pairs {pairs} {' '.join(arguments.overrides)}".strip(),
        )
    network = rounds["two ranks share B"] + rounds["two ranks, B each"]
    latency = statistics.median(one["small"] for one in network) / 2
    bandwidth = LARGE / max(1e-9, statistics.median(one["large"] for one in network) - 2 * latency)
    size = median("one rank, B", "gradient_bytes")
    print(
        f"\nall-reduce of two ranks here: latency {latency * 1e6:.0f} us, {bandwidth / 1e9:.2f} GB/s; "
        f"gradients {size / 1e6:.2f} MB"
    )
    for case, alone in (("two ranks share B", "two alone, B / 2"), ("two ranks, B each", "two alone, B")):
        durations = [duration for one in rounds[alone] for duration in one["durations"]]
        modelled = predict(find_slowest(durations, 2), size, 2, latency, bandwidth)
        print(f"{case:20} modelled {modelled * 1e3:6.2f} ms, measured {median(case) * 1e3:6.2f} ms")
    compute = ASSUMED_PAIRS / ASSUMED_PAIRS_PER_SECOND
    print(
        f"\nASSUMED, nothing here is measured: every GPU takes {ASSUMED_PAIRS} pairs in {compute * 1e3:.1f} ms, data hidden; "
        "(latency, bandwidth) of the network as below"
    )
    for ranks, (wait, rate) in NETWORKS.items():
        step = predict(compute, size, ranks, wait, rate)
        print(
            f"{ranks:4} GPUs, {wait * 1e6:.0f} us, {rate / 1e9:.0f} GB/s: step {step * 1e3:6.2f} ms, "
            f"{ranks * ASSUMED_PAIRS / step / 1e6:6.2f} M pairs/s, efficiency {compute / step:.0%}"
        )


if __name__ == "__main__":
    main()
