"""Run the training loop that disentangling and multi-task training share: step, log, save, and stop on a signal."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from detaux.errors import InterruptedRunError, NonFiniteLossError
from detaux.runtime.agreement import Vote, tell_once, wait_for_first
from detaux.runtime.collectives import gather_objects
from detaux.runtime.progress import track
from detaux.runtime.signals import catch_signals

Step = Callable[[int], dict[str, Tensor]]


class Meter:
    """Hold the sums of the parts of each step's loss on the device, and read them once per log line."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.started = time.perf_counter()

    def add(self, parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    def read(self) -> tuple[dict[str, Any], float]:
        """Return the means over all ranks and the seconds since the last reading, and reset both."""
        sums = {name: (total.tolist(), self.counts[name]) for name, total in self.sums.items()}
        means = _merge_means(gather_objects(sums))
        now = time.perf_counter()
        seconds, self.started = now - self.started, now
        self.sums, self.counts = {}, {}
        return means, seconds

    def find_non_finite(self) -> list[str]:
        """Return the names of the parts that are not finite on some rank."""
        bad = [name for name, total in self.sums.items() if not bool(torch.isfinite(total).all())]
        return list(dict.fromkeys(name for names in gather_objects(bad) for name in names))


def _merge_means(ranks: list[dict[str, tuple[Any, int]]]) -> dict[str, Any]:
    """Compute the mean of each part, over the steps and ranks that have it, from each rank's sums and counts."""
    names = dict.fromkeys(name for sums in ranks for name in sums)
    means = {}
    for name in names:
        having = [sums[name] for sums in ranks if name in sums]
        total = torch.tensor([total for total, _ in having], dtype=torch.float64).sum(0)
        means[name] = (total / sum(count for _, count in having)).tolist()
    return means


def run_loop(
    step_function: Step,
    *,
    description: str,
    first_step: int,
    steps: int,
    log_interval: int,
    checkpoint_interval: int,
    log: Callable[[int, dict[str, Any], float], None],
    save: Callable[[int], None],
) -> None:
    """Call `step_function(step)` for the steps [first_step, steps), and write logs and checkpoints in between.

    `step_function` returns detached parts, among them "total". `log(step, means, seconds)` gets the means since the
    last line. `save(step)` writes a checkpoint after `step` steps. All ranks log, save and stop at the same steps,
    whichever rank a signal reached. Raises NonFiniteLossError, which names the terms, before a bad state is saved.
    Raises InterruptedRunError after a signal, when the state is saved.
    """
    meter, vote = Meter(), Vote()
    with catch_signals() as request, track(description, steps) as advance:
        advance(first_step)
        for step in range(first_step, steps):
            meter.add(step_function(step))
            done, stop = step + 1, vote.cast(request.received or 0)
            is_log = done % log_interval == 0 or done == steps
            is_save = done % checkpoint_interval == 0 or done == steps or stop > 0
            if (is_log or is_save) and (bad := meter.find_non_finite()):
                raise tell_once(NonFiniteLossError(done, bad, "the learning rate or disentangle.clip"))
            if is_log:
                means, seconds = meter.read()
                log(done, means, seconds)
                advance(0, note=f"loss {means['total']:.4f}")
            if is_save:
                save(done)
            advance(1)
            if stop:
                # the first rank may still write the checkpoint, and the end of another rank would end it too
                wait_for_first()
                raise tell_once(InterruptedRunError(stop, f"step {done} of {description}"))
        if stop := max(gather_objects(request.received or 0)):  # catches a signal that came too late for a vote
            raise tell_once(InterruptedRunError(stop, f"step {steps} of {description}"))
