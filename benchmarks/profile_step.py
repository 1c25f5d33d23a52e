"""Where a training step goes: a trace and a table, on this machine, for any config.

    python benchmarks/profile_step.py CONFIG.yaml [key=value ...]       make profile CONFIG=... KEYS="..."

Builds the config's shards unless they stand, takes some steps on pairs with all terms on, then profiles STEPS more. Leaves
RUN/profile/trace.json (open it in https://ui.perfetto.dev) and prints the time of each part of a step and of the operators that
take most. Nothing is trained: the run's checkpoints are left alone.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from detaux.config import load_config
from detaux.config.load import check_together
from detaux.data.schema import read_manifest
from detaux.data.stream import SampleStream
from detaux.disentangle.model import Disentangler
from detaux.disentangle.train import Trainer
from detaux.pipeline import Job, make_shards
from detaux.runtime.device import select_device
from detaux.runtime.ranks import join_ranks

WARM, STEPS, OPERATORS = 10, 20, 12
# what of a trainer is called for each part of a step
PARTS = {
    "wait for the batch": ("batches", "take"),
    "forward and losses": ("", "compute"),
    "backward": ("engine", "backward"),
    "clip and optimiser": ("engine", "step"),
}


def name_part(owner: Any, attribute: str, label: str) -> None:
    """Record every call of owner.attribute under a label."""
    function: Callable[..., Any] = getattr(owner, attribute)

    @functools.wraps(function)
    def labelled(*args: Any, **kwargs: Any) -> Any:
        with record_function(label):
            return function(*args, **kwargs)

    setattr(owner, attribute, labelled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    curves = [f"losses.schedule.beta{index}.shape=constant" for index in (1, 2, 3)]
    config = load_config(arguments.config, [*arguments.overrides, *curves])
    check_together(config)
    job = Job(config, arguments.config)
    device = select_device(config.run)
    with join_ranks(device, needs_group=config.engine.name == "deepspeed"):
        make_shards(config, job.shards, "this profile")
        side = read_manifest(job.shards).side
        stream = SampleStream(job.shards, "train", config.data, seed=config.run.seed, device=device)
        trainer = Trainer(config, side, device, stream, is_main=True)
        torch.manual_seed(config.run.seed)
        trainer.load(Disentangler(config.model, side).state_dict(), {})
        for label, (owner, attribute) in PARTS.items():
            name_part(getattr(trainer, owner) if owner else trainer, attribute, label)
        for step in range(WARM):
            trainer.step(step)
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
        with profile(activities=activities) as profiler:
            for step in range(WARM, WARM + STEPS):
                with record_function("step"):
                    trainer.step(step)
            if device.type == "cuda":
                torch.cuda.synchronize()
    folder = job.root / "profile"
    folder.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(folder / "trace.json"))
    print_table(profiler, folder)


def print_table(profiler: profile, folder: Path) -> None:
    """Milliseconds a step of each part, and of the operators that take most by themselves."""
    events = {event.key: event for event in profiler.key_averages()}
    whole = events["step"].cpu_time_total / STEPS / 1e3
    print(f"\n{'part of a step':44} {'ms':>8} {'share':>7}")
    rest = whole
    for label in PARTS:
        spent = events[label].cpu_time_total / STEPS / 1e3
        rest -= spent
        print(f"{label:44} {spent:8.3f} {spent / whole:7.1%}")
    print(f"{'the rest':44} {rest:8.3f} {rest / whole:7.1%}\n{'a step':44} {whole:8.3f}")
    print(f"\n{'operator, by itself':44} {'ms':>8} {'share':>7} {'calls':>6}")
    inside = [event for key, event in events.items() if key not in {*PARTS, "step"}]
    for event in sorted(inside, key=lambda event: -event.self_cpu_time_total)[:OPERATORS]:
        spent = event.self_cpu_time_total / STEPS / 1e3
        print(f"{event.key[:44]:44} {spent:8.3f} {spent / whole:7.1%} {event.count / STEPS:6.0f}")
    print(f"\nThe trace: {folder / 'trace.json'}")


if __name__ == "__main__":
    main()
