"""Count the bytes that a GPU sends to the host in steps of training, and in a clustering of embeddings on the GPU.

    python benchmarks/bench_host_bytes.py [--steps 20] [--samples 50000] [--dims 64]

Training should send no bytes between two lines of the log. Clustering in torch should send only labels and tree edges.
The copies are counted in the profiler's trace, and the ratio is to the bytes of the embeddings. It needs a GPU.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_cluster import make_blobs
from bench_trainer import ALL_TERMS, WARM, build_trainer
from results import append_row, name_machine, read_command
from torch.profiler import ProfilerActivity, profile

from detaux.config import load_config
from detaux.config.schema import DiscoverConfig
from detaux.discover.backends import load_clusterer
from detaux.pipeline import make_shards

CONFIG = "configs/quickstart.yaml"


def count_host_bytes(trace: dict[str, Any]) -> int:
    """Sum the bytes of the copies from a device to the host in a trace that torch.profiler exported."""
    copies = (event for event in trace["traceEvents"] if event.get("cat") == "gpu_memcpy")
    return sum(event["args"]["bytes"] for event in copies if "DtoH" in event["name"])


def measure(run: Callable[[], object]) -> int:
    """Return the bytes that `run` copies to the host."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return count_host_bytes(json.loads(path.read_text(encoding="utf-8")))


def prepare_steps(steps: int, shards: Path, device: torch.device) -> Callable[[], None]:
    """Return a function that takes steps of the quickstart's training without reading the mined graph again."""
    config = load_config(CONFIG, [*ALL_TERMS, f"pairs.walk_interval={WARM + steps}"])
    make_shards(config, shards, "the benchmark")
    trainer = build_trainer(config, shards, device)
    for step in range(WARM):
        trainer.step(step)

    def run() -> None:
        for step in range(WARM, WARM + steps):
            trainer.step(step)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--dims", type=int, default=64)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("there is no GPU here that could send anything")
    device = torch.device("cuda")
    add_row = partial(append_row, benchmark="host bytes", metric="bytes to the host", unit="B", command=read_command())
    with tempfile.TemporaryDirectory() as folder:
        sent = measure(prepare_steps(arguments.steps, Path(folder) / "shards", device))
    print(f"{arguments.steps} training steps: {sent:,} B", flush=True)
    add_row(case=f"{arguments.steps} training steps, {name_machine(device)}", value=sent)
    points_ND = torch.from_numpy(make_blobs(arguments.samples, arguments.dims)).to(device)
    sent = measure(partial(load_clusterer("hdbscan", "torch"), points_ND, DiscoverConfig(min_samples=64), 0))
    case = f"HDBSCAN in torch, {arguments.samples} x {arguments.dims}"
    print(f"{case}: {sent:,} B, {sent / points_ND.nbytes:.2%} of the embeddings", flush=True)
    add_row(case=f"{case}, {name_machine(device)}", value=sent, ratio=sent / points_ND.nbytes)


if __name__ == "__main__":
    main()
