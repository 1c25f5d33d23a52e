"""Time the disentangle step with the mirrors of metrics.jsonl on and off, interleaved in one process.

    python benchmarks/bench_tracker.py [--rounds 40] [--steps 100] [--interval 100] [--threads 1]

One trainer runs on digits of 32 pixels, with all other keys at their defaults. Each round gives every case `steps`
steps in turn, with a line every `interval` steps. It then waits until the mirrors have all lines, so that no case
slows another.

`step` is the median over rounds, in wall time and in this process's CPU time. Other processes disturb CPU time less,
and it does not include W&B's own process. `line` is the wall time that the loop spends on logging a line. Its CPU
time, over all threads, is measured on BURST lines in a row, without a step. A ratio is the median of the rounds' own
ratios to `metrics.jsonl alone`, and its spread is their quartiles.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from results import append_row

from detaux.config import load_config
from detaux.data.stream import SampleStream
from detaux.disentangle.phases import MainPhase
from detaux.disentangle.trainer import Trainer
from detaux.runtime.loop import run_loop
from detaux.runtime.metrics import MetricsLog, Mirror, read_metrics
from detaux.tracking.mirrors import open_mirrors
from detaux.tracking.panels import list_lines
from shards.build import build_shards

SIDE = 32
BURST = 20
PAUSE_SECONDS = 2e-4  # between two checks of the mirrors' progress
CASES = {  # the first is the baseline
    "metrics.jsonl alone": (),
    "W&B offline": ("track.wandb=offline",),
    "TensorBoard": ("track.tensorboard=true",),
    "W&B offline and TensorBoard": ("track.wandb=offline", "track.tensorboard=true"),
}


def wait_for(mirrors: list[Mirror], step: int) -> None:
    """Wait until every mirror has the line of this step."""
    while any(mirror.step < step for mirror in mirrors):
        time.sleep(PAUSE_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--interval", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    total = (arguments.rounds + 1) * len(CASES) * arguments.steps
    keys = ["data.source=digits", f"data.side={SIDE}", f"disentangle.main.steps={total}", "run.device=cpu"]
    clocks = {"step": time.perf_counter, "step, CPU time": time.process_time}
    metrics = (*clocks, "line", "line, CPU time")
    seconds: dict[tuple[str, str], list[float]] = {(metric, name): [] for metric in metrics for name in CASES}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place, ExitStack() as stack:
        root, config, device = Path(place), load_config(None, keys), torch.device("cpu")
        build_shards(config, root / "shards")
        stream = SampleStream(root / "shards", "train", config.data, seed=0, device=device, needs_factors=False)
        trainer = Trainer(config, SIDE, MainPhase(config, stream, device))
        logs, mirrors = {}, {}
        for name, extra in CASES.items():
            folder = root / name
            logs[name] = stack.enter_context(MetricsLog(folder, 0))
            tracked = load_config(None, [*keys, *extra])
            mirrors[name] = open_mirrors(tracked, "disentangle", folder, "", list_lines(config))
            logs[name].start_mirrors(mirrors[name])

        def log_timed(name: str, step: int, means: dict[str, Any], elapsed: float) -> None:
            begun = time.perf_counter()
            trainer.log(logs[name], 0, step, means, elapsed)
            seconds["line", name].append(time.perf_counter() - begun)

        position = 0
        for number in range(arguments.rounds + 1):
            names = list(CASES)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                begun = {metric: clock() for metric, clock in clocks.items()}
                run_loop(
                    trainer.step,
                    description=name,
                    first_step=position,
                    steps=position + arguments.steps,
                    log_interval=arguments.interval,
                    checkpoint_interval=total + 1,
                    log=partial(log_timed, name),
                    save=lambda step: None,
                )
                position += arguments.steps
                wait_for(mirrors[name], position)
                if number:  # the first round is a warm-up
                    for metric, clock in clocks.items():
                        seconds[metric, name].append((clock() - begun[metric]) / arguments.steps)
        for _ in range(arguments.rounds):
            for name in CASES:
                line = read_metrics(root / name)[-1]
                begun_line = time.process_time()
                for step in range(line["step"] + 1, line["step"] + 1 + BURST):
                    logs[name].write({**line, "step": step})
                wait_for(mirrors[name], step)
                seconds["line, CPU time", name].append((time.process_time() - begun_line) / BURST)
    print(f"{'':15} {'case':30} {'ms':>8} {'ratio':>7}  quartiles of ratios")
    for (metric, name), values in seconds.items():
        baseline = seconds[metric, next(iter(CASES))]
        ratios = [value / base for value, base in zip(values, baseline, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        spread = f"{low:.3f}-{high:.3f}"
        print(
            f"{metric:15} {name:30} {1e3 * statistics.median(values):8.3f} {statistics.median(ratios):7.4f}  {spread}"
        )
        append_row(
            benchmark="tracker",
            case=name,
            metric=metric,
            value=1e3 * statistics.median(values),
            unit="ms",
            ratio=statistics.median(ratios),
            spread=spread,
            command=f"python benchmarks/bench_tracker.py --rounds {arguments.rounds} --steps {arguments.steps} "
            f"--interval {arguments.interval} --threads {arguments.threads}",
        )


if __name__ == "__main__":
    main()
