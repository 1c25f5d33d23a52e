"""What a trial does: train and discover in a folder of its own, and report the objective at its rungs and at the end.

A trial that is started again, by Ray or by the next `detaux sweep`, goes on from its checkpoint; `trial.json` holds what it has
reported.
"""

import os
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from detaux.config import Config
from detaux.config.load import change_config, check_together
from detaux.data.schema import read_manifest
from detaux.discover.run import DISCOVERY_NAME
from detaux.disentangle.model import Disentangler
from detaux.errors import NonFiniteLossError, NothingFoundError
from detaux.pipeline import Job, run_stages
from detaux.runtime.files import lock_file, read_json, write_json
from detaux.runtime.tracker import read_metrics
from detaux.sweep.objective import OBJECTIVES, Judge, find_best_factor
from detaux.sweep.space import ORIGIN
from detaux.sweep.warmup import SharedWarmup

TRIAL_NAME, LOG_NAME = "trial.json", "log.txt"
RULES_THAT_RESAMPLE = ("stability",)
LOCK_SECONDS = 0.5  # between two looks whether a killed predecessor has let go of the folder

Report = Callable[[int, float], None]  # (steps of the main phase, objective)
Note = Callable[[int, float, tuple[str, float] | None], None]  # and the best known factor with its V-measure


@dataclass(frozen=True)
class Sweep:
    """What all trials share: the config they vary, the folder of the sweep, the shards, and where the command was given."""

    config: Config
    root: Path
    shards: str
    working_folder: Path

    def list_rungs(self) -> list[int]:
        """Steps of the main phase at which a trial reports before its end."""
        sweep, rungs = self.config.sweep, []
        rung = sweep.first_rung
        while sweep.scheduler == "asha" and rung < self.config.disentangle.main.steps:
            rungs.append(rung)
            rung *= sweep.reduction
        return rungs

    def make_config(self, values: dict[str, Any]) -> Config:
        """The config with a trial's values."""
        return change_config(self.config, values, ORIGIN)

    def make_job(self, folder: Path, values: dict[str, Any]) -> Job:
        """What a trial runs in its folder; raises UserError where its values do not go together."""
        config = self.make_config(values)
        check_together(config)
        discover = config.discover
        if discover.choose not in RULES_THAT_RESAMPLE:  # costly, and no objective reads it
            discover = replace(discover, stability_samples=0)
        run, data = replace(config.run, dir=str(folder)), replace(config.data, shards=self.shards)
        track = replace(config.track, group=config.track.group or self.root.resolve().name)
        return Job(replace(config, run=run, data=data, discover=discover, track=track), str(folder))


@dataclass
class Account:
    """What is known of a trial, kept in its folder.

    `status` is running, finished, diverged or failed; `rungs` maps steps of the main phase to the objective there; `is_warm` says
    that another trial has trained its warm-up.
    """

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    status: str = "running"
    rungs: dict[int, float] = field(default_factory=dict)
    objective: float | None = None
    step: int = 0
    seconds: float = 0.0
    attempts: int = 0
    is_warm: bool = False
    error: str = ""
    factor: tuple[str, float] | None = None

    @classmethod
    def load(cls, folder: Path) -> "Account":
        """The account of a trial's folder, a new one where there is none."""
        path = folder / TRIAL_NAME
        account = cls(path, **read_json(path)) if path.is_file() else cls(path)
        account.rungs = {int(step): objective for step, objective in account.rungs.items()}
        return account

    def save(self) -> None:
        write_json(self.path, {name: value for name, value in vars(self).items() if name != "path"})

    @property
    def is_final(self) -> bool:
        return self.status in ("finished", "diverged")

    def note(self, step: int, objective: float, factor: tuple[str, float] | None) -> None:
        """Enter the objective after some steps of the main phase, and the best known factor with its V-measure."""
        self.step, self.objective, self.factor = step, objective, factor


def run_trial(values: dict[str, Any], sweep: Sweep, name: str, report: Report) -> None:
    """Train, discover and report, in the folder of this name. What it prints goes to its log.txt.

    A discovery that finds nothing and a training that diverges are worth 0. Raises RuntimeError where the trial fails.
    """
    os.chdir(sweep.working_folder)
    folder = sweep.root / "trials" / name
    folder.mkdir(parents=True, exist_ok=True)
    with (
        lock_file(folder / ".trial", lambda: time.sleep(LOCK_SECONDS)),
        (folder / LOG_NAME).open("a", encoding="utf-8", buffering=1) as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        account = Account.load(folder)
        if not account.is_final:
            _complete(account, values, sweep, folder, report)
        assert account.objective is not None
        report(account.step, account.objective)


def _complete(account: Account, values: dict[str, Any], sweep: Sweep, folder: Path, report: Report) -> None:
    begun = time.monotonic()
    before = account.seconds
    account.values, account.status, account.error = values, "running", ""
    account.attempts += 1

    def save() -> None:
        account.seconds = round(before + time.monotonic() - begun, 3)
        account.save()

    def note_rung(step: int, objective: float, factor: tuple[str, float] | None) -> None:
        account.rungs[step] = objective
        account.note(step, objective, factor)
        save()

    save()
    try:
        job = sweep.make_job(folder, values)
        warmup = SharedWarmup(sweep.root / "warmups", job)
        observer = Observer(sweep, job, account, warmup, note_rung, report)
        try:
            account.is_warm = warmup.take() or account.is_warm
            with suppress(NothingFoundError):  # its candidates are judged like any others, and none may be chosen
                run_stages(("disentangle", "discover"), replace(job, observe=observer))
        finally:
            warmup.release()
        _judge_end(account, sweep, job)
    except NonFiniteLossError as error:
        account.status, account.error = "diverged", str(error)
        account.note(_count_steps(job), 0.0, None)
    except SystemExit:  # Tune lets go of a trial this way, once its scheduler has stopped it
        save()
        raise
    except BaseException as error:
        account.status, account.error = "failed", f"{type(error).__name__}: {error}"
        save()
        traceback.print_exc()
        # the original may not survive the way to the driver
        raise RuntimeError(f"trial {folder.name}: {account.error}") from None
    save()


def _judge_end(account: Account, sweep: Sweep, job: Job) -> None:
    discovery = read_json(job.root / "discover" / DISCOVERY_NAME)
    rows, chosen = [*discovery["candidates"], *discovery["baselines"]], discovery["chosen"]
    manifest = read_manifest(job.shards)
    objective = OBJECTIVES[sweep.config.sweep.objective](rows, chosen, manifest)
    account.status = "finished"
    account.note(job.config.disentangle.main.steps, objective, find_best_factor(rows, chosen, manifest))


def _count_steps(job: Job) -> int:
    """Steps of the main phase in the log of a training that ended early."""
    lines = read_metrics(job.root / "disentangle")
    return max(0, (lines[-1]["step"] if lines else 0) - job.config.disentangle.warmup.steps)


class Observer:
    """Sees each step of the main phase, keeps the warm-up for other trials, and reports the objective at the rungs.

    A trial that goes on from a checkpoint may pass a rung again: it reports what it did then, which changes nothing.
    """

    def __init__(
        self, sweep: Sweep, job: Job, account: Account, warmup: SharedWarmup, note: Note, report: Report
    ) -> None:
        self.rungs, self.job, self.account, self.warmup = frozenset(sweep.list_rungs()), job, account, warmup
        self.note, self.report = note, report
        self.judge: Judge | None = None

    def __call__(self, step: int, model: Disentangler) -> None:
        if step == 0:
            self.warmup.keep(model)
        if step not in self.rungs:
            return
        if step not in self.account.rungs:
            self.judge = self.judge or Judge(self.job.config, self.job.shards)
            self.note(step, *self.judge.judge(model))
        self.report(step, self.account.rungs[step])
