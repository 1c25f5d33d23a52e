"""Limit the seconds of a clustering: slow loops check now and then whether the time is over."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PROGRESS_SECONDS = 10.0  # between two lines on the progress


class Limit:
    """Limit the seconds of a clustering; 0 is no limit. Every PROGRESS_SECONDS `say` gets the seconds since `start`."""

    def __init__(self, seconds: float, say: Callable[[float], None]) -> None:
        self.seconds, self.say = seconds, say
        self.start()

    def start(self) -> None:
        self.begun = self.said = time.monotonic()

    def measure(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.begun

    def check(self) -> None:
        """Report the progress if it is due. Raises TimeoutError if the limit is not 0 and has passed."""
        now = time.monotonic()
        if self.seconds and now - self.begun > self.seconds:
            raise TimeoutError
        if now - self.said >= PROGRESS_SECONDS:
            self.said = now
            self.say(now - self.begun)


_held = threading.local()


@contextmanager
def hold_limit(limit: Limit) -> Iterator[None]:
    """Make check_limit check this limit while the block runs, in this thread."""
    before, _held.limit = getattr(_held, "limit", None), limit
    try:
        yield
    finally:
        _held.limit = before


def check_limit() -> None:
    """Check the limit that this thread holds, if there is one."""
    limit = getattr(_held, "limit", None)
    if limit is not None:
        limit.check()
