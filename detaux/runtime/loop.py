"""The only training loop: step, measure, log, save; it never learns what is being trained."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from detaux.errors import InterruptedRunError, NonFiniteLossError
from detaux.runtime.progress import track

Step = Callable[[int], dict[str, Tensor]]
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """The first signal asks the loop to save and stop; a second one stops at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGUSR1 into a StopRequest while the block runs."""
    request = StopRequest()
    before = {number: signal.signal(number, request) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Meter:
    """Sums of a step's parts, kept on the device and read once per log line."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.started = time.perf_counter()

    def add(self, parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
            self.counts[name] = self.counts.get(name, 0) + 1

    def read(self) -> tuple[dict[str, Any], float]:
        """Means since the last reading and the seconds between; starts afresh."""
        means = {name: (total / self.counts[name]).tolist() for name, total in self.sums.items()}
        now = time.perf_counter()
        seconds, self.started = now - self.started, now
        self.sums, self.counts = {}, {}
        return means, seconds


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
    """Call `step_function(step)` for the steps [first_step, steps) with logs and checkpoints between.

    `step_function` returns detached parts, among them "total". `log(step, means, seconds)` gets the means since the last
    line; `save(step)` writes a checkpoint after `step` steps. Raises NonFiniteLossError, naming the terms, before a bad
    state is saved, and InterruptedRunError after a signal, its state saved.
    """
    meter = Meter()
    with catch_signals() as request, track(description, steps) as advance:
        advance(first_step)
        for step in range(first_step, steps):
            meter.add(step_function(step))
            done = step + 1
            is_log = done % log_interval == 0 or done == steps
            is_save = done % checkpoint_interval == 0 or done == steps or request.received is not None
            if is_log or is_save:
                _check_finite(meter, done)
            if is_log:
                means, seconds = meter.read()
                log(done, means, seconds)
                advance(0, note=f"loss {means['total']:.4f}")
            if is_save:
                save(done)
            advance(1)
            if request.received is not None and done < steps:
                raise InterruptedRunError(request.received, f"step {done} of {description}")


def _check_finite(meter: Meter, step: int) -> None:
    bad = [name for name, total in meter.sums.items() if not bool(torch.isfinite(total).all())]
    if bad:
        raise NonFiniteLossError(step, bad, "the learning rate or disentangle.clip")
