"""Show a training's metrics.jsonl as a page of the terminal, and draw it again while lines come, for `detaux watch`.

Nothing here imports torch, so that it also runs on a machine that only sees the run folder.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from detaux.artefacts import METRICS_NAME, RECORD_NAME
from detaux.errors import UserError
from detaux.runtime.metrics import WARNING, read_metrics
from detaux.runtime.terminal import Terminal
from detaux.stages import STAGES
from detaux.tracking.panels import ORACLE_SHARE, PANELS

REFRESH_SECONDS = 1.0
TREND_LINES = 24  # newest lines that a trend shows
BAR_WIDTH = 30
LEVELS, ASCII_LEVELS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
GIB = 2**30

Line = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """Hold one training of a stage: its folder, its name on the page and its lines, at least one."""

    folder: Path
    name: str
    lines: list[Line]

    @property
    def last(self) -> Line:
        return self.lines[-1]

    @property
    def steps(self) -> int:
        """Return how many steps it will have, or how many it has had if an old release did not log that."""
        return int(self.last["steps" if "steps" in self.last else "step"])

    @property
    def is_done(self) -> bool:
        return self.last["step"] >= self.steps

    def estimate_seconds_left(self) -> float | None:
        """Estimate the seconds to the last step at the pace of the newest line; None if there is only one line."""
        if len(self.lines) < 2:
            return None
        steps = self.last["step"] - self.lines[-2]["step"]
        return self.last["seconds"] / steps * (self.steps - self.last["step"])

    def list_values(self, key: str) -> list[float]:
        """Return the numbers of a key in the newest lines."""
        values = (line.get(key) for line in self.lines[-TREND_LINES:])
        return [value for value in values if isinstance(value, int | float)]


def find_stage(run: Path) -> Path:
    """Return the folder of the stage with the newest metrics.jsonl. Raises UserError if no stage has one."""
    if not run.is_dir():
        raise UserError(f"{run} is no run folder; give the run.dir of a run that has started.")
    found = [folder for stage in STAGES if read_metrics(folder := run / stage)]
    if not found:
        raise UserError(
            f"{run} has no line of {METRICS_NAME} yet; training writes the first after disentangle.log_interval steps."
        )
    return max(found, key=lambda folder: (folder / METRICS_NAME).stat().st_mtime)


def read_trainings(stage: Path) -> list[Training]:
    """Read the trainings of a stage's folder and of its restarts, in order, leaving out those without a line."""
    numbered = [folder for folder in stage.glob("restart_*") if folder.name.removeprefix("restart_").isdecimal()]
    restarts = sorted(numbered, key=lambda folder: int(folder.name.removeprefix("restart_")))
    return [
        Training(folder, f"{stage.name}/{folder.name}" if folder != stage else stage.name, lines)
        for folder in (stage, *restarts)
        if (lines := read_metrics(folder))
    ]


def is_finished(stage: Path) -> bool:
    """Return whether the stage has a record that is not from an earlier run."""
    record = stage / RECORD_NAME
    return record.is_file() and all(
        record.stat().st_mtime >= metrics.stat().st_mtime for metrics in stage.glob(f"**/{METRICS_NAME}")
    )


def watch_run(run: Path, *, is_once: bool) -> None:
    """Show the newest stage until it is finished or Ctrl-C; show one frame if `is_once` or if there is no terminal.

    Raises UserError if there is no such run or nothing to show.
    """
    stage, console = find_stage(run), Terminal()
    if is_once or not console.is_terminal:
        console.print(draw_stage(stage, console))
        return
    try:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                is_last = is_finished(stage)
                live.update(draw_stage(stage, console), refresh=True)
                if is_last:
                    return
                time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        return


def draw_stage(stage: Path, console: Console) -> RenderableType:
    """Draw one frame: the training that wrote last in full, and a row for each training if there are several."""
    trainings = read_trainings(stage)
    if not trainings:  # a training that started again has removed its lines
        return Text(f"{stage.name} has no line of {METRICS_NAME} yet")
    levels = ASCII_LEVELS if console.options.ascii_only else LEVELS
    newest = max(trainings, key=lambda training: (training.folder / METRICS_NAME).stat().st_mtime)
    parts: list[RenderableType] = [draw_training(newest, levels, is_stage_done=is_finished(stage))]
    if len(trainings) > 1:
        parts.append(draw_overview(trainings, levels))
    return Group(*parts)


def draw_training(training: Training, levels: str, *, is_stage_done: bool) -> RenderableType:
    """Draw the progress, then every panel of PANELS with a key in the newest line."""
    last = training.last
    bar = ProgressBar(total=training.steps, completed=last["step"], width=BAR_WIDTH)
    head = Table.grid(padding=(0, 1))
    head.add_row(bar, Text(describe_progress(training, is_stage_done=is_stage_done)))
    rows = Table.grid(padding=(0, 2))
    for title, panel in PANELS.items():
        shown = [key for key in panel.keys if last.get(key) is not None]
        for number, key in enumerate(shown):
            name = Text("" if number else title, style="bold")
            if key == ORACLE_SHARE:
                for index, share in enumerate(last[key]):
                    share_bar = ProgressBar(total=1.0, completed=share, width=BAR_WIDTH)
                    rows.add_row("" if index else name, f"subspace {index}", f"{share:.1%}", share_bar)
            else:
                trend = draw_trend(training.list_values(key), levels)
                rows.add_row(name, key.rpartition("/")[2], format_value(key, last[key]), trend)
    mark = " (upper bound: uses ground truth)" if last.get("uses_ground_truth") else ""
    told = [Text(line[WARNING], style="bold") for line in training.lines if WARNING in line]
    return Panel(
        Group(head, *told, Text(), rows), title=Text(training.name + mark), title_align="left", box=box.ROUNDED
    )


def describe_progress(training: Training, *, is_stage_done: bool) -> str:
    """Describe the step, the phase and the time left in words."""
    last = training.last
    words = [f"step {last['step']:,} of {training.steps:,}, {last['phase']}"]
    if is_stage_done:
        return f"{words[0]}; the stage is finished"
    if training.is_done:
        return f"{words[0]}; this training is done"
    left = training.estimate_seconds_left()
    if left is not None:
        words.append(f"about {timedelta(seconds=round(left))} left")
    age = time.time() - (training.folder / METRICS_NAME).stat().st_mtime
    words.append(f"newest line {timedelta(seconds=max(0, round(age)))} ago")
    return "; ".join(words)


def draw_overview(trainings: Sequence[Training], levels: str) -> Table:
    """Draw a row for each training: its progress, its losses and how often the oracle picks each subspace."""
    table = Table("training", "step", "loss", "reconstruction", "samples/s", "oracle use", box=box.SIMPLE)
    for training in trainings:
        last = training.last
        table.add_row(
            Text(training.folder.name),
            f"{last['step']:,} of {training.steps:,}",
            format_value("loss/total", last.get("loss/total")),
            format_value("loss/reconstruction", last.get("loss/reconstruction")),
            format_value("samples_per_second", last.get("samples_per_second")),
            draw_trend([0.0, *(last.get(ORACLE_SHARE) or [])], levels)[1:],
        )
    return table


def draw_trend(values: Sequence[float], levels: str) -> str:
    """Draw numbers as a row of blocks; the smallest number gets the lowest block and the largest the highest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(levels) - 1) / (high - low) if high > low else 0.0
    return "".join(levels[round((value - low) * scale)] for value in values)


def format_value(key: str, value: float | None) -> str:
    """Format a number in the unit that its key names."""
    if value is None or not math.isfinite(value):
        return "-"
    if key.endswith("_bytes"):
        return f"{value / GIB:.2f} GiB"
    if key.endswith("_share"):
        return f"{value:.1%}"
    return f"{value:,.0f}" if key.endswith("_per_second") else f"{value:.4g}"
