"""The seconds that a clustering may take: whatever takes long asks now and then whether they are over."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PROGRESS_SECONDS = 10.0  # between two lines that say how far it is


class Limit:
    """A limit on the seconds of a clustering, 0 for none. `say` gets those since `start` every PROGRESS_SECONDS."""

    def __init__(self, seconds: float, say: Callable[[float], None]) -> None:
        self.seconds, self.say = seconds, say
        self.start()

    def start(self) -> None:
        self.begun = self.said = time.monotonic()

    def measure(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun

    def check(self) -> None:
        """Say how far it is when it is time to; raises TimeoutError when the seconds, unless they are 0, are over."""
        now = time.monotonic()
        if self.seconds and now - self.begun > self.seconds:
            raise TimeoutError
        if now - self.said >= PROGRESS_SECONDS:
            self.said = now
            self.say(now - self.begun)


_held = threading.local()


@contextmanager
def hold_limit(limit: Limit) -> Iterator[None]:
    """Let check_limit ask this limit while the block runs, in this thread."""
    before, _held.limit = getattr(_held, "limit", None), limit
    try:
        yield
    finally:
        _held.limit = before


def check_limit() -> None:
    """limit.check of the limit that is held, if any."""
    limit = getattr(_held, "limit", None)
    if limit is not None:
        limit.check()
