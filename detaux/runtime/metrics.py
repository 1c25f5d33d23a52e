"""Write metrics.jsonl, one JSON object a line, and copy its lines to mirrors such as W&B.

Each line is flushed when it is written. A resumed run first cuts the file back to its checkpoint. A thread fills the
mirrors from the file.
"""

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

WARNING = "warning"  # key of a sentence that a line may hold, which the terminal shows too


class Mirror(Protocol):
    """Describe another place that gets the lines of metrics.jsonl; `step` is the step of the last line that it has."""

    name: str
    step: int

    def write(self, line: dict[str, Any]) -> None:
        """Take a line."""

    def close(self, error: BaseException | None) -> None:
        """Finish: no more lines come, because training is done or `error` ended it."""


class MetricsLog:
    """Append metrics to RUN/STAGE/metrics.jsonl. When opened at `step`, it first drops the lines of later steps.

    `has_warned` says whether one of its lines holds a warning.
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
        """Give these mirrors every line that they lack, kept or new. Call it once."""
        if mirrors:
            self._follower = Follower(self._path, mirrors)

    def write(self, values: dict[str, Any]) -> None:
        """Add a line. A number that is not finite becomes null, because JSON has no such numbers."""
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
    """Read metrics.jsonl in a thread while training writes it, and give its lines to the mirrors in order.

    The file is the queue. However slow a mirror is, training waits for it only at its end, and lines neither pile up in
    memory nor get lost.
    """

    def __init__(self, path: Path, mirrors: Sequence[Mirror]) -> None:
        self._path, self._mirrors = path, list(mirrors)
        self._has_news, self._is_complete = threading.Event(), False
        # is a daemon because a second Ctrl-C must not wait for a server that does not answer
        self._thread = threading.Thread(target=self._work, name="detaux-mirrors", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Note that the file has a new line."""
        self._has_news.set()

    def finish(self, error: BaseException | None) -> None:
        """Wait until the mirrors have all lines of the file, which is complete, and close them."""
        self._is_complete = True
        self.wake()
        self._thread.join()
        for mirror in list(self._mirrors):
            self._try(mirror, mirror.close, error)

    def _work(self) -> None:
        try:
            self._follow()
        except Exception as error:  # somebody removed or changed the file
            for mirror in list(self._mirrors):
                self._leave_out(mirror, error)

    def _follow(self) -> None:
        text = b""
        with self._path.open("rb") as stream:
            while True:
                is_last = self._is_complete  # read before the file, which may get a line in between
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
        """Call a mirror; if it fails, whatever its library raises, training continues without it."""
        try:
            method(argument)
        except Exception as error:
            self._leave_out(mirror, error)

    def _leave_out(self, mirror: Mirror, error: Exception) -> None:
        self._mirrors.remove(mirror)
        with suppress(Exception):  # closing keeps the lines that the mirror already has
            mirror.close(error)
        log.warning("%s has failed and gets no more lines, while %s does: %r", mirror.name, METRICS_NAME, error)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the lines of a metrics.jsonl, without a last line that a kill cut off."""
    return read_lines(folder / METRICS_NAME)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON objects, one a line, up to the first line that is cut off. No file has no lines."""
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
    """Return a line as dashboards need it: a list becomes NAME/0, NAME/1, ..., and null values are left out."""
    flat: dict[str, Any] = {}
    for name, value in line.items():
        flat |= (
            {f"{name}/{index}": one for index, one in enumerate(value)} if isinstance(value, list) else {name: value}
        )
    return {name: value for name, value in flat.items() if value is not None}
