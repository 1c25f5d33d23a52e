"""metrics.jsonl: one JSON object a line, flushed as it is written, cut back to the checkpoint on resume; and its mirrors,
which a thread fills from it."""

import json
import logging
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from detaux.artefacts import METRICS_NAME
from detaux.runtime.files import atomic_path

log = logging.getLogger(__name__)

WARNING = "warning"  # key of a sentence that a line may hold, told on the terminal too


class Mirror(Protocol):
    """Another place that gets the lines of metrics.jsonl; `step` is that of the last line it has."""

    name: str
    step: int

    def write(self, line: dict[str, Any]) -> None:
        """Take a line."""

    def close(self, error: BaseException | None) -> None:
        """No more lines come, since training is done or an error ended it."""


class MetricsLog:
    """Append metrics to RUN/STAGE/metrics.jsonl; opened at `step`, it first drops the lines of later steps.

    `has_warned` tells whether one of its lines holds a warning.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / METRICS_NAME
        kept = [line for line in read_metrics(folder) if line["step"] <= step]
        with atomic_path(self._path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._stream = self._path.open("a", encoding="utf-8")
        self.has_warned = any(WARNING in line for line in kept)
        self._follower: Follower | None = None

    def start_mirrors(self, mirrors: Sequence[Mirror]) -> None:
        """Give these mirrors every line that they lack, those that were kept and from now on the new ones; called once."""
        if mirrors:
            self._follower = Follower(self._path, mirrors)

    def write(self, values: dict[str, Any]) -> None:
        """Add a line; a number that is not finite becomes null, since JSON has none."""
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        self._stream.write(json.dumps(clean, allow_nan=False) + "\n")
        self._stream.flush()
        if WARNING in clean:
            self.has_warned = True
            log.warning("%s", clean[WARNING])
        if self._follower is not None:
            self._follower.wake()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        if self._follower is not None:
            self._follower.finish(error)


class Follower:
    """A thread that reads metrics.jsonl behind the training and gives its lines to the mirrors, in their order.

    The file is the queue: a mirror may be as slow as it likes, and neither does training wait for it before its end nor
    do lines pile up in memory or get lost.
    """

    def __init__(self, path: Path, mirrors: Sequence[Mirror]) -> None:
        self._path, self._mirrors = path, list(mirrors)
        self._has_news, self._is_complete = threading.Event(), False
        # a daemon: a second Ctrl-C must not wait for a server that does not answer
        self._thread = threading.Thread(target=self._work, name="detaux-mirrors", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """The file has a new line."""
        self._has_news.set()

    def finish(self, error: BaseException | None) -> None:
        """The file is complete: wait until the mirrors have all of it, and close them."""
        self._is_complete = True
        self.wake()
        self._thread.join()
        for mirror in list(self._mirrors):
            self._try(mirror, mirror.close, error)

    def _work(self) -> None:
        try:
            self._follow()
        except Exception as error:  # the file was taken away, or changed by another hand
            for mirror in list(self._mirrors):
                self._leave_out(mirror, error)

    def _follow(self) -> None:
        text = b""
        with self._path.open("rb") as stream:
            while True:
                is_last = self._is_complete  # asked before the file is, which may get a line in between
                text += stream.readline()
                if text.endswith(b"\n"):
                    self._give(json.loads(text))
                    text = b""
                elif is_last:
                    return
                else:
                    self._has_news.wait()
                    self._has_news.clear()

    def _give(self, line: dict[str, Any]) -> None:
        for mirror in list(self._mirrors):
            if line["step"] > mirror.step:
                self._try(mirror, mirror.write, line)

    def _try(self, mirror: Mirror, method: Callable[[Any], None], argument: Any) -> None:
        """Leave a mirror out once it fails, whatever its library raised: training goes on without it."""
        try:
            method(argument)
        except Exception as error:
            self._leave_out(mirror, error)

    def _leave_out(self, mirror: Mirror, error: Exception) -> None:
        self._mirrors.remove(mirror)
        with suppress(Exception):  # what it has so far is to be kept
            mirror.close(error)
        log.warning("%s has failed and gets no more lines, while %s does: %r", mirror.name, METRICS_NAME, error)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Lines of a metrics.jsonl; a last line cut off by a kill is left out."""
    path = folder / METRICS_NAME
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not isinstance(line, dict):
            break
        lines.append(line)
    return lines


def flatten(line: dict[str, Any]) -> dict[str, Any]:
    """A line as dashboards take it: a list becomes NAME/0, NAME/1, ..., and what is null is left out."""
    flat: dict[str, Any] = {}
    for name, value in line.items():
        flat |= (
            {f"{name}/{index}": one for index, one in enumerate(value)} if isinstance(value, list) else {name: value}
        )
    return {name: value for name, value in flat.items() if value is not None}
