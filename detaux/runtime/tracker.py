"""metrics.jsonl: one JSON object a line, flushed as it is written, cut back to the checkpoint on resume."""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

from detaux.runtime.files import atomic_path

METRICS_NAME = "metrics.jsonl"


class MetricsLog:
    """Append metrics to RUN/STAGE/metrics.jsonl; opened at `step`, it first drops the lines of later steps."""

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / METRICS_NAME
        kept = [line for line in read_metrics(folder) if line["step"] <= step]
        with atomic_path(path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._stream = path.open("a", encoding="utf-8")

    def write(self, values: dict[str, Any]) -> None:
        """Add a line; a number that is not finite becomes null, since JSON has none."""
        clean = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        self._stream.write(json.dumps(clean, allow_nan=False) + "\n")
        self._stream.flush()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Lines of a metrics.jsonl; a last line cut off by a kill is left out."""
    path = folder / METRICS_NAME
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines
