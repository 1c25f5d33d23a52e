"""Keep ASHA's rungs over a kill: Tune restores its trials and Optuna's draws, but not the rungs of the scheduler."""

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler

from detaux.sweep.trial import TRIAL_NAME, Account, Sweep


class RecallingASHA(ASHAScheduler):
    """Run ASHA (Li et al. 2020) at the rungs of a sweep, and refill them from the trials' accounts after a kill.

    A sweep that was killed therefore stops the same trials as one that was not.
    """

    def __init__(self, sweep: Sweep) -> None:
        settings = sweep.config.sweep
        super().__init__(
            time_attr="step",
            metric="rung",
            mode="max",
            grace_period=settings.first_rung,
            max_t=sweep.config.disentangle.main.steps,
            reduction_factor=settings.reduction,
            stop_last_trials=False,
        )
        self.sweep = sweep
        self.unanswered: dict[str, int] = {}  # trial -> rung that it reported before a kill, without an answer

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for path in sorted(self.sweep.root.glob(f"trials/*/{TRIAL_NAME}")):
            self._recall(Account.load(path.parent))

    def _recall(self, account: Account) -> None:
        """Enter the reports of a trial into the rungs."""
        trial: Any = SimpleNamespace(trial_id=account.path.parent.name)
        reports = [(step, worth.rung) for step, worth in sorted(account.rungs.items())]
        if account.is_final and account.worth is not None:
            reports.append((account.step, account.worth.rung))
        elif reports and reports[-1][0] > account.passed:
            self.unanswered[trial.trial_id] = reports[-1][0]
        self.on_trial_add(None, trial)  # type: ignore[arg-type]
        for step, rung in reports:
            super().on_trial_result(None, trial, {"step": step, "rung": rung})  # type: ignore[arg-type]

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide whether a trial continues or stops.

        A trial that was killed before the answer reports its rung again; its old entry is removed first.
        A trial that was stopped at a rung does not report it again.
        """
        if self.unanswered.get(trial.trial_id, -1) == result.get("step"):
            del self.unanswered[trial.trial_id]
            for milestone, recorded in self._brackets[0]._rungs:
                if milestone == result["step"]:
                    recorded.pop(trial.trial_id, None)
        return super().on_trial_result(tune_controller, trial, result)
