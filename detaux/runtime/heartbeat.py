"""Let the ranks watch each other, so that a lost rank ends all others within a minute, with one message that names it.

Each rank writes a sign of life to the launcher's key-value store every second, and reads that of its right neighbour.
It reports a silent neighbour in the store, which all ranks read. A collective with a lost rank fails at once or hangs;
both cases are handled here.
"""

import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from torch import distributed

from detaux.errors import DetauxError, InterruptedRunError, LostRankError
from detaux.runtime.ranks import connect_store, rank, world_size
from detaux.runtime.signals import ignore_signals

BEAT_SECONDS = 1.0
SILENT_SECONDS = 10.0  # a rank without a sign of life for this long is lost
GRACE_SECONDS = 10.0  # time in which a rank may end by itself after another is lost
LEFT, FAILED = "left", "failed"  # replace the sign of life if a rank ends on purpose, or by an error that it prints


class RankWatch:
    """Send this rank's sign of life, and watch those of the others."""

    def __init__(self) -> None:
        self.rank, self.size = rank(), world_size()
        self.lost: str | None = None
        self._left = threading.Event()
        self._reports, self._end_sign = False, LEFT
        self._store = connect_store()
        self._send(0)  # at once: the loss of a rank that never sent one would not be noticed
        self._thread = threading.Thread(target=self._watch, name="detaux-watch", daemon=True)
        self._thread.start()

    def leave(self, *, has_failed: bool) -> None:
        """Announce to the other ranks that this one ends."""
        self._end_sign = FAILED if has_failed else LEFT
        self._left.set()
        self._thread.join()
        if self.rank == 0 and (self.lost is None or self.lost == FAILED):
            self._wait_for_others(SILENT_SECONDS)

    def _wait_for_others(self, seconds: float) -> None:
        """Wait until every other rank has ended or has been silent for `seconds`.

        The first rank may hold the store, so its end would remove what the others have not read yet.
        """
        signs: dict[int, str | None] = dict.fromkeys(range(1, self.size))
        changed = time.monotonic()
        with suppress(RuntimeError):  # the launcher has ended its store
            while time.monotonic() - changed < seconds:
                found = {number: self._read(f"detaux/beat/{number}") for number in signs}
                if all(sign in (LEFT, FAILED) for sign in found.values()):
                    return
                if found != signs:
                    signs, changed = found, time.monotonic()
                time.sleep(BEAT_SECONDS / 20)

    def find_lost(self) -> DetauxError | None:
        """Wait until the ranks have noticed a loss. Return the error that names the lost rank, or None if none is."""
        deadline = time.monotonic() + SILENT_SECONDS + 8 * BEAT_SECONDS
        while self.lost is None and time.monotonic() < deadline:
            time.sleep(BEAT_SECONDS / 10)
        return None if self.lost is None else self._make_error(self.lost)

    def tell_once(self, error: DetauxError) -> None:
        """Mark an error as printed if another rank has ended with the same sentence."""
        if not error.is_told and not error.is_shared:
            digest = hashlib.sha256(str(error).encode()).hexdigest()
            with suppress(RuntimeError):  # without the store each rank prints its own error
                error.is_told = self._store.add(f"detaux/told/{digest}", 1) > 1

    def _make_error(self, lost: str) -> DetauxError:
        if lost.startswith(FAILED):
            error = DetauxError(f"another rank {lost}")
            error.is_told = True
            return error
        error = LostRankError(lost)
        error.is_told = not self._reports
        return error

    def _watch(self) -> None:
        neighbour = (self.rank + 1) % self.size
        beat, seen, seen_at = 0, None, time.monotonic()
        ended_at: float | None = None
        try:
            while not self._left.wait(BEAT_SECONDS):
                beat += 1
                self._send(beat)
                found = self._read(f"detaux/beat/{neighbour}")
                if found == FAILED:
                    self._store.set("detaux/lost", FAILED)
                elif found is None or found == LEFT or found != seen:
                    seen, seen_at = found, time.monotonic()
                elif time.monotonic() - seen_at > SILENT_SECONDS:
                    self._reports = True
                    self._store.set("detaux/lost", f"rank {neighbour} on {found.split()[1]}")
                self.lost = self.lost or self._read("detaux/lost")
                if self.lost is not None:
                    ended_at = ended_at or time.monotonic()
                    if time.monotonic() - ended_at > GRACE_SECONDS:
                        self._end()
            self._store.set(f"detaux/beat/{self.rank}", self._end_sign)
        except (distributed.DistError, RuntimeError):
            # the store went with the first rank's machine, or with the launcher
            if self.lost is None:
                self.lost, self._reports = "the first rank, or its launcher,", True
            if not self._left.wait(GRACE_SECONDS):
                self._end()

    def _send(self, beat: int) -> None:
        self._store.set(f"detaux/beat/{self.rank}", f"{beat} {socket.gethostname()}")

    def _read(self, key: str) -> str | None:
        return self._store.get(key).decode() if self._store.check([key]) else None

    def _end(self) -> None:
        """End the process from this thread, because its main thread hangs in a collective that will never complete."""
        error = self._make_error(self.lost or "a rank")
        if not error.is_told:
            print(f"detaux: {error}", file=sys.stderr, flush=True)
        os._exit(error.exit_code)


@contextmanager
def watch_ranks() -> Iterator[None]:
    """Watch the other ranks while the block runs. Raises LostRankError if a collective fails because a rank is lost.

    A launcher that sees a rank die ends the others by SIGTERM. That signal is ignored while a rank finds out which one
    is lost.
    """
    if world_size() == 1:
        yield
        return
    watch, has_failed = RankWatch(), True
    try:
        yield
        has_failed = False
    except DetauxError as error:
        has_failed = not (isinstance(error, InterruptedRunError) and error.is_shared)
        watch.tell_once(error)
        raise
    except RuntimeError as error:
        with ignore_signals():
            lost = watch.find_lost()
        if lost is None:
            raise
        raise lost from error
    finally:
        watch.leave(has_failed=has_failed)
