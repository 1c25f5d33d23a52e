"""Profile a training step on this machine, for any config: write a trace, and print a table of where time goes.

    python benchmarks/profile_step.py CONFIG.yaml [key=value ...]       make profile CONFIG=... KEYS="..."

It builds the config's shards if they are missing, takes some steps on pairs with all terms on, and profiles STEPS
more. It writes RUN/profile/trace.json (open it in https://ui.perfetto.dev), and prints the time of each part of a
step and of the slowest operators. It does not touch the run's checkpoints.
"""

import argparse
import functools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from bench_trainer import ALL_TERMS, build_trainer
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from detaux.config import load_config
from detaux.config.together import check_together
from detaux.pipeline import Job, make_shards
from detaux.runtime.device import select_device
from detaux.runtime.ranks import join_ranks

WARM, STEPS, OPERATORS = 10, 20, 12
# part of a step -> (attribute of the trainer, method); "" is the trainer itself
PARTS = {
    "wait for the batch": ("batches", "take"),
    "forward and losses": ("", "compute"),
    "backward": ("engine", "backward"),
    "clip and optimiser": ("engine", "step"),
}


def name_part(owner: Any, attribute: str, label: str, seconds: Counter[str]) -> None:
    """Record every call of owner.attribute under a label, and add its seconds to `seconds`."""
    function: Callable[..., Any] = getattr(owner, attribute)

    @functools.wraps(function)
    def labelled(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        with record_function(label):
            result = function(*args, **kwargs)
        seconds[label] += time.perf_counter() - begun
        return result

    setattr(owner, attribute, labelled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    config = load_config(arguments.config, [*arguments.overrides, *ALL_TERMS])
    check_together(config)
    job = Job(config, arguments.config)
    device = select_device(config.run)
    with join_ranks(device, needs_group=config.engine.name == "deepspeed"):
        make_shards(config, job.shards, "this profile")
        trainer = build_trainer(config, job.shards, device)
        seconds: Counter[str] = Counter()
        for label, (owner, attribute) in PARTS.items():
            name_part(getattr(trainer, owner) if owner else trainer, attribute, label, seconds)
        for step in range(WARM):
            trainer.step(step)
        seconds.clear()
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
        with profile(activities=activities) as profiler:
            begun = time.perf_counter()
            for step in range(WARM, WARM + STEPS):
                with record_function("step"):
                    trainer.step(step)
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds["step"] = time.perf_counter() - begun
    folder = job.root / "profile"
    folder.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(folder / "trace.json"))
    print_table(seconds, profiler.key_averages())
    print(f"\nThe trace: {folder / 'trace.json'}")


def print_table(seconds: Counter[str], events: Any) -> None:
    """Print the milliseconds a step of its parts, and of the operators that take most by themselves.

    `seconds` is the wall time of all steps, by part. `events` are the profiler's averages, by name and device.
    """
    whole = seconds["step"] / STEPS * 1e3
    rest = whole - sum(seconds[label] for label in PARTS) / STEPS * 1e3
    print(f"\n{'part of a step':44} {'ms':>8} {'share':>7}")
    for label in PARTS:
        spent = seconds[label] / STEPS * 1e3
        print(f"{label:44} {spent:8.3f} {spent / whole:7.1%}")
    print(f"{'the rest':44} {rest:8.3f} {rest / whole:7.1%}\n{'a step':44} {whole:8.3f}")
    # On a GPU a range appears twice, once for the time of its kernels. Operators are only on the host.
    operators = [one for one in events if one.device_type == DeviceType.CPU and one.key not in {*PARTS, "step"}]
    has_device = any(one.self_device_time_total for one in operators)
    order = "self_device_time_total" if has_device else "self_cpu_time_total"
    print(f"\n{'operator, by itself':44} {'ms':>8} {'GPU ms':>8} {'share':>7} {'calls':>6}")
    for one in sorted(operators, key=lambda one: -getattr(one, order))[:OPERATORS]:
        host, device = (value / STEPS / 1e3 for value in (one.self_cpu_time_total, one.self_device_time_total))
        share = getattr(one, order) / STEPS / 1e3 / whole
        print(f"{one.key[:44]:44} {host:8.3f} {device:8.3f} {share:7.1%} {one.count / STEPS:6.0f}")


if __name__ == "__main__":
    main()
