"""Measure whole training steps by batch size, with data, pairs and optimiser: pairs/s and peak memory.

    python benchmarks/bench_trainer.py [--config configs/quickstart.yaml] [--pairs 32 1024 8192] [--seconds 5]
        [key=value ...]

All terms are on, as after the ramps of beta. Each batch size takes steps for about --seconds, after a few warm-up
steps. Peak memory is that of tensors on a GPU, and that of the process on a CPU.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from results import append_row, name_machine, read_command

from detaux.config import Config, load_config
from detaux.data.schema import read_manifest
from detaux.data.stream import SampleStream
from detaux.disentangle.model import Disentangler
from detaux.disentangle.phases import MainPhase
from detaux.disentangle.trainer import Trainer
from detaux.pipeline import make_shards
from detaux.runtime.device import read_peak_bytes, select_device

WARM = 3
ALL_TERMS = [f"losses.schedule.beta{index}.shape=constant" for index in (1, 2, 3)]


def build_trainer(config: Config, shards: Path, device: torch.device) -> Trainer:
    """Build a trainer of the main phase at step 0."""
    side = read_manifest(shards).side
    stream = SampleStream(shards, "train", config.data, seed=config.run.seed, device=device)
    trainer = Trainer(config, side, MainPhase(config, stream, device))
    torch.manual_seed(config.run.seed)
    trainer.load(Disentangler(config.model, side).state_dict(), {})
    return trainer


def measure_rate(trainer: Trainer, seconds: float, device: torch.device) -> float:
    """Return the steps a second over about `seconds`. The clock is read when the device is done."""
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    for step in range(WARM):
        trainer.step(step)
    synchronize()
    step, begun = WARM, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for _ in range(WARM):
            trainer.step(step)
            step += 1
        synchronize()
    return (step - WARM) / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/quickstart.yaml")
    parser.add_argument("--pairs", type=int, nargs="+", default=[32, 1024, 8192])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_intermixed_args()
    config = load_config(arguments.config, [*arguments.overrides, *ALL_TERMS])
    device = select_device(config.run)
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder) / "shards"
        make_shards(config, shards, "the benchmark")
        side = read_manifest(shards).side
        for pairs in arguments.pairs:
            sized = load_config(
                arguments.config, [*arguments.overrides, *ALL_TERMS, f"disentangle.main.batch_size={pairs}"]
            )
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            rate = pairs * measure_rate(build_trainer(sized, shards, device), arguments.seconds, device)
            memory = read_peak_bytes(device) / 2**30
            case = f"{pairs} pairs, {side} px, {name_machine(device)}"
            print(f"{case:44} {rate:9.0f} pairs/s {memory:7.2f} GiB", flush=True)
            for metric, value, unit in (("pairs/s", rate, "1/s"), ("peak memory", memory, "GiB")):
                append_row(
                    benchmark="trainer", case=case, metric=metric, value=value, unit=unit, command=read_command()
                )


if __name__ == "__main__":
    main()
