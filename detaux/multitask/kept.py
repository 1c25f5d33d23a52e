"""Keep a row and the weights of each finished trial, so that an interrupted run continues with the next trial."""

import json
import shutil
from pathlib import Path
from typing import Any

from torch import nn

from detaux.artefacts import ROWS_NAME, STATES_NAME
from detaux.errors import UserError
from detaux.multitask.classifier import save_classifier
from detaux.multitask.trial import COLUMNS, COSTS, Trial
from detaux.runtime.agreement import run_first
from detaux.runtime.files import atomic_path
from detaux.runtime.progress import say
from detaux.runtime.ranks import is_first
from detaux.runtime.readers import check_safetensors

Row = dict[str, Any]


class KeptTrials:
    """Hold the finished trials of a folder that had the same inputs. The first rank reads and writes the files."""

    def __init__(self, folder: Path, inputs_hash: str) -> None:
        """Read the trials of an interrupted run, and drop those that cannot be used. All ranks call it together."""
        self._states, self._rows_path, self._inputs_hash = folder / STATES_NAME, folder / ROWS_NAME, inputs_hash
        self.rows: list[Row] = run_first(self._take_up)
        self.names = {row["name"] for row in self.rows}

    def locate(self, trial: Trial) -> Path:
        """Return the file of a trial's weights."""
        return self._states / f"{trial.name}.safetensors"

    def add(self, trial: Trial, row: Row, network: nn.Module) -> None:
        """Keep a finished trial: first its weights, then its row."""
        self.rows.append({**row, "name": trial.name, "inputs_hash": self._inputs_hash})
        self.names.add(trial.name)
        if is_first():
            save_classifier(network, self.locate(trial))
            with self._rows_path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(self.rows[-1]) + "\n")

    def sort(self, trials: list[Trial]) -> None:
        """Put the rows into the order of the trials: a trial that was trained once more was added at the end."""
        places = {trial.name: place for place, trial in enumerate(trials)}
        self.rows.sort(key=lambda row: places.get(row["name"], len(places)))

    def remove_states(self) -> None:
        """Delete the weights and keep the rows."""
        shutil.rmtree(self._states)

    def remove(self) -> None:
        """Delete the weights and the rows."""
        self.remove_states()
        self._rows_path.unlink()

    def _take_up(self) -> list[Row]:
        self._states.mkdir(parents=True, exist_ok=True)
        rows = [row for row in self._read_rows() if self._has_state(row["name"])]
        with atomic_path(self._rows_path) as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return rows

    def _read_rows(self) -> list[Row]:
        if not self._rows_path.is_file():
            return []
        rows = []
        for line in self._rows_path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break  # cut off by a kill
        own = [row for row in rows if isinstance(row, dict) and row.get("inputs_hash") == self._inputs_hash]
        return [row for row in own if "name" in row and self._is_complete(row)]

    def _is_complete(self, row: Row) -> bool:
        """Return whether a row has all columns. Report a row that lacks one, as rows of another version may."""
        lacking = [name for name in (*COLUMNS, *COSTS) if name not in row]
        if lacking:
            name = row["name"]
            say(f"multitask: {self._rows_path} lacks {lacking[0]!r} of trial {name}; its trial is trained once more.")
        return not lacking

    def _has_state(self, name: str) -> bool:
        """Return whether a trial has a file of weights that is not damaged. Report a damaged file."""
        path = self._states / f"{name}.safetensors"
        try:
            if path.is_file():
                check_safetensors(path, "its trial is trained once more")
            return path.is_file()
        except UserError as error:
            say(f"multitask: {error}")
            return False
