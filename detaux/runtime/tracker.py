"""metrics.jsonl: one JSON object a line, flushed as it is written, cut back to the checkpoint on resume; and its mirrors."""

import json
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from detaux.runtime.files import atomic_path

log = logging.getLogger(__name__)

METRICS_NAME = "metrics.jsonl"


class Mirror(Protocol):
    """Another place that gets the lines of metrics.jsonl; `step` is that of the last line it has."""

    name: str
    step: int

    def write(self, line: dict[str, Any]) -> None:
        """Take a line; it must return at once."""

    def close(self, error: BaseException | None) -> None:
        """No more lines come, since training is done or an error ended it."""


class MetricsLog:
    """Append metrics to RUN/STAGE/metrics.jsonl; opened at `step`, it first drops the lines of later steps."""

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / METRICS_NAME
        self._kept = [line for line in read_metrics(folder) if line["step"] <= step]
        with atomic_path(path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in self._kept), encoding="utf-8")
        self._stream = path.open("a", encoding="utf-8")
        self._mirrors: list[Mirror] = []

    def add_mirrors(self, mirrors: Sequence[Mirror]) -> None:
        """Give these mirrors the lines that were kept and they lack, and from now on every new one."""
        self._mirrors += mirrors
        for line in self._kept:
            self._mirror(line)

    def write(self, values: dict[str, Any]) -> None:
        """Add a line; a number that is not finite becomes null, since JSON has none."""
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        self._stream.write(json.dumps(clean, allow_nan=False) + "\n")
        self._stream.flush()
        self._mirror(clean)

    def _mirror(self, line: dict[str, Any]) -> None:
        for mirror in list(self._mirrors):
            if line["step"] > mirror.step:
                self._try(mirror, mirror.write, line)

    def _try(self, mirror: Mirror, method: Callable[[Any], None], argument: Any) -> None:
        """Leave a mirror out once it fails, whatever its library raised: training goes on without it."""
        try:
            method(argument)
        except Exception as error:
            self._mirrors.remove(mirror)
            with suppress(Exception):  # what it has so far is to be kept
                mirror.close(error)
            log.warning("%s has failed and gets no more lines, while %s does: %r", mirror.name, METRICS_NAME, error)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        for mirror in list(self._mirrors):
            self._try(mirror, mirror.close, error)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Lines of a metrics.jsonl; a last line cut off by a kill is left out."""
    path = folder / METRICS_NAME
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
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
