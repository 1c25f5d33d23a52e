"""Run a trial: train and discover in a folder of its own, and report the objective at its rungs and at the end.

If Ray or the next `detaux sweep` starts a trial again, it continues from its checkpoint. `trial.json` has its reports.
All ranks of a trial run it together. The first rank locks the folder, judges and reports.
"""

import os
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from detaux.artefacts import DISCOVERY_NAME, LABELS_NAME
from detaux.config import Config
from detaux.config.load import change_config
from detaux.config.together import check_together
from detaux.config.variants import drop_comparisons
from detaux.data.schema import read_manifest
from detaux.disentangle.model import Disentangler
from detaux.errors import NonFiniteLossError, NothingFoundError, UserError
from detaux.pipeline import Job, join_job, run_stages
from detaux.runtime.agreement import run_first
from detaux.runtime.files import lock_file, write_json
from detaux.runtime.metrics import read_metrics
from detaux.runtime.ranks import is_first
from detaux.runtime.readers import read_json
from detaux.sweep.objective import (
    DOWNSTREAM,
    STABILITY,
    Finding,
    Judge,
    Worth,
    chooses_by_stability,
    list_objectives,
    weigh,
)
from detaux.sweep.space import ORIGIN
from detaux.sweep.warmup import SharedWarmup

TRIAL_NAME, LOG_NAME = "trial.json", "log.txt"
LOCK_SECONDS = 0.5  # between two tries to lock the folder, which a killed process may still hold

Report = Callable[[int, Worth], None]  # takes the step of the main phase and the worth after it


@dataclass(frozen=True)
class Sweep:
    """Hold what all trials share: the config that they vary, the sweep's folder, the shards, the command's folder."""

    config: Config
    root: Path
    shards: str
    working_folder: Path

    def list_rungs(self) -> list[int]:
        """Return the steps of the main phase at which a trial reports before its end."""
        sweep, rungs = self.config.sweep, []
        rung = sweep.first_rung
        while sweep.scheduler == "asha" and rung < self.config.disentangle.main.steps:
            rungs.append(rung)
            rung *= sweep.reduction
        return rungs

    def make_config(self, values: dict[str, Any]) -> Config:
        """Return the config with a trial's values."""
        return change_config(self.config, values, ORIGIN)

    def make_job(self, folder: Path, values: dict[str, Any]) -> Job:
        """Return the job that a trial runs in its folder. Raises UserError if its values contradict each other."""
        config = self.make_config(values)
        check_together(config)
        discover, multitask = config.discover, drop_comparisons(config.multitask)
        if not chooses_by_stability(config) and STABILITY not in list_objectives(config.sweep):
            discover = replace(discover, stability_samples=0)
        processes = max(1, int(config.sweep.cpus))  # the other cores are for other trials
        discover = replace(discover, cross_prediction=replace(discover.cross_prediction, processes=processes))
        run, data = replace(config.run, dir=str(folder)), replace(config.data, shards=self.shards)
        track = replace(config.track, group=config.track.group or self.root.resolve().name)
        job = replace(config, run=run, data=data, discover=discover, multitask=multitask, track=track)
        return Job(job, str(folder))


@dataclass
class Account:
    """Hold the state of a trial. The first rank keeps it in the trial's folder; the copies of other ranks are not read.

    `status` is running, finished, diverged or failed. `worth` is the worth after `step` steps of the main phase, or
    None before the first judgement. `rungs` maps the step of each rung to the worth there. `passed` is the last rung
    after which the trial continued. `is_warm` is true if another trial trained the warm-up.
    """

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    status: str = "running"
    rungs: dict[int, Worth] = field(default_factory=dict)
    worth: Worth | None = None
    step: int = 0
    passed: int = 0
    seconds: float = 0.0
    attempts: int = 0
    is_warm: bool = False
    error: str = ""

    @classmethod
    def load(cls, folder: Path) -> "Account":
        """Load the account in a trial's folder, or make a new one. Raises UserError if the file is damaged."""
        path = folder / TRIAL_NAME
        if not path.is_file():
            return cls(path)
        way_on = f"delete {path} and run `detaux sweep` again"
        entries = read_json(path, way_on)
        try:
            rungs = {int(step): Worth(**entry) for step, entry in entries.pop("rungs").items()}
            worth = entries.pop("worth")
            return cls(path, **entries, rungs=rungs, worth=worth and Worth(**worth))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(f"{path} is damaged or from another version of Detaux; {way_on}.") from None

    def save(self) -> None:
        if is_first():
            write_json(self.path, {name: value for name, value in asdict(self).items() if name != "path"})

    @property
    def is_final(self) -> bool:
        return self.status in ("finished", "diverged")

    def note(self, step: int, worth: Worth) -> None:
        """Set the worth of the trial after `step` steps of the main phase."""
        self.step, self.worth = step, worth


def run_trial(values: dict[str, Any], sweep: Sweep, name: str, report: Report) -> None:
    """Train, discover and report, in the folder `name`. What the trial prints goes to log.txt there.

    A trial is worth 0 if discovery finds no candidate to choose or training diverges. Raises RuntimeError if it fails.
    """
    os.chdir(sweep.working_folder)
    folder = sweep.root / "trials" / name
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        run_first(lambda: stack.enter_context(lock_file(folder / ".trial", lambda: time.sleep(LOCK_SECONDS))))
        log = stack.enter_context((folder / LOG_NAME).open("a", encoding="utf-8", buffering=1))
        stack.enter_context(redirect_stdout(log))
        stack.enter_context(redirect_stderr(log))
        account = Account.load(folder)
        if not run_first(lambda: account.is_final):
            _complete(account, values, sweep, folder, report)
        run_first(lambda: _report_end(account, report))


def _report_end(account: Account, report: Report) -> None:
    assert account.worth is not None
    report(account.step, account.worth)


def _complete(account: Account, values: dict[str, Any], sweep: Sweep, folder: Path, report: Report) -> None:
    begun = time.monotonic()
    before = account.seconds
    account.values, account.status, account.error = values, "running", ""
    account.attempts += 1

    def save() -> None:
        account.seconds = round(before + time.monotonic() - begun, 3)
        account.save()

    def note_rung(step: int, worth: Worth) -> None:
        account.rungs[step] = worth
        account.note(step, worth)
        save()

    save()
    try:
        job = sweep.make_job(folder, values)
        warmup = SharedWarmup(sweep.root / "warmups", job)
        observer = Observer(sweep, job, account, warmup, note_rung, report)
        try:
            account.is_warm = run_first(warmup.take) or account.is_warm
            with suppress(NothingFoundError):  # the trial is still judged, although no candidate may be chosen
                run_stages(("disentangle", "discover"), replace(job, observe=observer))
        finally:
            warmup.release()
        gain = _measure_gain(job)
        run_first(lambda: _judge_end(account, job, gain))
    except NonFiniteLossError as error:
        account.status, account.error = "diverged", str(error)
        worth = Worth(tradeoffs=dict.fromkeys(list_objectives(job.config.sweep)[1:], 0.0))
        account.note(run_first(lambda: _count_steps(job)), worth)
    except SystemExit:  # Tune raises it in a trial that the scheduler has stopped
        save()
        raise
    except BaseException as error:
        account.status, account.error = "failed", f"{type(error).__name__}: {error}"
        save()
        if not getattr(error, "is_told", False):  # the rank with the error prints it
            traceback.print_exc()
        # Ray may be unable to pickle the original for the driver
        raise RuntimeError(f"trial {folder.name}: {account.error}") from None
    save()


def _judge_end(account: Account, job: Job, gain: float) -> None:
    discovery = _read_discovery(job)
    rows = [*discovery["candidates"], *discovery["baselines"]]
    account.status = "finished"
    finding = Finding(rows, discovery["chosen"], read_manifest(job.shards), gain)
    account.note(job.config.disentangle.main.steps, weigh(finding, job.config.sweep, is_end=True))


def _measure_gain(job: Job) -> float:
    """Measure the validation accuracy that the labels add; 0 if no objective needs it or there are no labels.

    All ranks call it together.
    """
    if DOWNSTREAM not in list_objectives(job.config.sweep) or _read_discovery(job)["chosen"] < 0:
        return 0.0
    from detaux.multitask.gain import measure_gain

    labels_path = job.root / "discover" / LABELS_NAME
    with join_job(job):
        return measure_gain(job.config, job.shards, labels_path, job.root / "disentangle", job.root / DOWNSTREAM)


def _read_discovery(job: Job) -> dict[str, Any]:
    return read_json(job.root / "discover" / DISCOVERY_NAME, "run `detaux sweep` again", ["chosen"])


def _count_steps(job: Job) -> int:
    """Count the main-phase steps in the log of a training that ended early."""
    lines = read_metrics(job.root / "disentangle")
    return max(0, (lines[-1]["step"] if lines else 0) - job.config.disentangle.warmup.steps)


class Observer:
    """Watch the main phase of a trial: keep its warm-up for other trials, and report the objective at the rungs.

    A trial that continues from a checkpoint may reach a rung again. Then it repeats its earlier report.
    """

    def __init__(
        self, sweep: Sweep, job: Job, account: Account, warmup: SharedWarmup, note: Report, report: Report
    ) -> None:
        self.rungs, self.job, self.account, self.warmup = frozenset(sweep.list_rungs()), job, account, warmup
        self.note, self.report = note, report
        self.judge: Judge | None = None

    def __call__(self, step: int, model: Disentangler) -> None:
        if step == 0 and is_first():
            self.warmup.keep(model)
        if step in self.rungs:
            run_first(lambda: self._report_rung(step, model))

    def _report_rung(self, step: int, model: Disentangler) -> None:
        if step not in self.account.rungs:
            self.judge = self.judge or Judge(self.job.config, self.job.shards)
            self.note(step, self.judge.judge(model))
        self.report(step, self.account.rungs[step])  # never returns if the scheduler stops the trial
        self.account.passed = max(self.account.passed, step)
        self.account.save()
