"""Write TensorBoard event files to STAGE/tensorboard. A continued run makes them again from metrics.jsonl."""

import shutil
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from detaux.runtime.metrics import flatten

EVENTS_NAME = "tensorboard"


class TensorBoardMirror:
    """Send every number of metrics.jsonl to event files, which TensorBoard's own thread writes."""

    name = "track.tensorboard"

    def __init__(self, folder: Path) -> None:
        self.step = 0
        shutil.rmtree(folder / EVENTS_NAME, ignore_errors=True)  # the kept lines of metrics.jsonl are sent again
        self._writer = SummaryWriter(str(folder / EVENTS_NAME), flush_secs=10)

    def write(self, line: dict[str, Any]) -> None:
        for name, value in flatten(line).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._writer.add_scalar(name, value, line["step"])
        self.step = line["step"]

    def close(self, error: BaseException | None) -> None:
        self._writer.close()
