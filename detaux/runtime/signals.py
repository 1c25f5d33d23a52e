"""Handle signals: ask a loop to save and stop, or end a stage that has no loop with one sentence."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from detaux.errors import InterruptedRunError

REQUEUE_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # sent by launchers and schedulers
STOP_SIGNALS = (signal.SIGINT, *REQUEUE_SIGNALS)


class StopRequest:
    """Ask the loop to save and stop at the first signal; stop at once at the second."""

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
    with _handle(STOP_SIGNALS, request):
        yield request


@contextmanager
def raise_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGUSR1 into InterruptedRunError while the block runs, unless a loop catches them."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise InterruptedRunError(number, "the last checkpoint or finished stage")

    with _handle(REQUEUE_SIGNALS, stop):
        yield


@contextmanager
def interrupt_by_signals() -> Iterator[StopRequest]:
    """Make SIGTERM and SIGUSR1 act like Ctrl-C while the block runs, for a library that handles only Ctrl-C.

    The request says which signal came.
    """
    request = StopRequest()

    def interrupt(number: int, frame: FrameType | None) -> None:
        request.received = number
        signal.raise_signal(signal.SIGINT)

    with _handle(REQUEUE_SIGNALS, interrupt):
        yield request


@contextmanager
def ignore_signals() -> Iterator[None]:
    """Ignore SIGTERM and SIGUSR1 while the block runs, which must be short."""
    with _handle(REQUEUE_SIGNALS, signal.SIG_IGN):
        yield


@contextmanager
def _handle(numbers: tuple[signal.Signals, ...], handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python sets handlers only in the main thread
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
