"""Write the results of a sweep: best.yaml (a config ready to run), a row for each trial, and the cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from rich.table import Table
from scipy.stats import spearmanr

from detaux.artefacts import BEST_NAME, SUMMARY_NAME, TRIALS_NAME
from detaux.config import Config
from detaux.config.frozen import format_config
from detaux.config.schema import SweepConfig
from detaux.errors import DetauxError, NothingFoundError, UserError
from detaux.report.sweep import OBJECTIVE, describe_best, describe_cost, read_results
from detaux.runtime.files import atomic_path, write_json
from detaux.runtime.progress import say
from detaux.runtime.terminal import Terminal
from detaux.sweep.objective import Worth, gives_upper_bound, list_objectives
from detaux.sweep.space import Dimension, make_distributions
from detaux.sweep.trial import LOG_NAME, Account, Sweep

OUTPUTS = (BEST_NAME, TRIALS_NAME, SUMMARY_NAME)
SHOWN_TRIALS = 10
FEWEST_RANKED = 3  # trials; with fewer, a rank correlation means nothing
FEWEST_FOR_IMPORTANCE = 8  # trials that trained to the end


@dataclass(frozen=True)
class TrialResult:
    """Hold a trial's name, its account, and how it ended: finished, stopped (by ASHA), diverged or failed."""

    name: str
    account: Account
    status: str

    @property
    def rank_key(self) -> tuple[bool, float, bool]:
        """Return a key that sorts the best trial first.

        Trials that trained to the end come first, then the larger objective, then trials with a task.
        """
        return self.status != "finished", -(self.worth.objective or 0.0), not self.worth.has_task

    @property
    def worth(self) -> Worth:
        return self.account.worth or Worth()

    def to_row(self, space: Sequence[Dimension], tradeoffs: Sequence[str]) -> dict[str, Any]:
        """Return a row of trials.parquet.

        Columns with `scored_after` use a factor that training never saw, and are scored after training.
        """
        one, worth = self.account, self.account.worth
        return {
            "trial": self.name,
            **{dimension.key: one.values.get(dimension.key) for dimension in space},
            "objective": worth and worth.objective,
            **{name: worth and worth.tradeoffs[name] for name in tradeoffs},
            "step": one.step,
            "status": self.status,
            "seconds": one.seconds,
            "attempts": one.attempts,
            "error": one.error or None,
            "scored_after_factor": self.worth.factor,
            "scored_after_v_measure": self.worth.v_measure,
        }


def collect_trials(root: Path, errors: Mapping[str, str]) -> list[TrialResult]:
    """Return the trials in the order of `errors`, which maps each trial's name to its error ("" if it has none)."""
    trials = []
    for name, error in errors.items():
        account = Account.load(root / "trials" / name)
        status = account.status if account.is_final else "failed" if error else "stopped"
        account.error = account.error or (error.strip().splitlines() or [""])[-1]
        trials.append(TrialResult(name, account, status))
    return trials


def write_results(sweep: Sweep, space: Sequence[Dimension], trials: Sequence[TrialResult]) -> None:
    """Write best.yaml, trials.parquet and sweep.json.

    If no trial finished, only trials.parquet is written. Then it raises DetauxError if the first-ranked trial diverged,
    else UserError.
    """
    ranked = sorted(trials, key=lambda trial: trial.rank_key)
    is_upper_bound, (_, *tradeoffs) = gives_upper_bound(sweep.config, space), list_objectives(sweep.config.sweep)
    rows = [one.to_row(space, tradeoffs) for one in ranked]
    if tradeoffs:
        rows = mark_front(rows, [OBJECTIVE, *tradeoffs])
    with atomic_path(sweep.root / TRIALS_NAME) as path:
        marks = {"uses_ground_truth": str(is_upper_bound).lower()}
        pyarrow.parquet.write_table(build_table(rows).replace_schema_metadata(marks), path)
    best = ranked[0]
    if best.status != "finished":
        kind = DetauxError if best.status == "diverged" else UserError
        raise kind(
            f"none of {len(trials)} trials trained to the end; {best.name} {best.status}: {best.account.error or 'see its log'} "
            f"({sweep.root / 'trials' / best.name / LOG_NAME})."
        )
    with atomic_path(sweep.root / BEST_NAME) as path:
        path.write_text(_format_best(sweep, best, is_upper_bound), encoding="utf-8")
    summary = summarize_sweep(sweep, ranked, is_upper_bound) | {"importance": measure_importance(space, ranked)}
    write_json(sweep.root / SUMMARY_NAME, summary)


def mark_front(rows: Sequence[dict[str, Any]], objectives: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows with `on_front`: whether the trial is on the Pareto front of the trials that trained to the end.

    A trial is on the front if no other one has at least as much of every objective and more of one.
    """

    def beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        pairs = [(one[name], other[name]) for name in objectives]
        return all(left >= right for left, right in pairs) and any(left > right for left, right in pairs)

    whole = [row for row in rows if row["status"] == "finished"]
    return [{**row, "on_front": row in whole and not any(beats(other, row) for other in whole)} for row in rows]


def measure_importance(space: Sequence[Dimension], trials: Sequence[TrialResult]) -> dict[str, float]:
    """Return the share of the objective's variance that each key explains by itself, the largest first.

    Optuna computes it by functional ANOVA on a random forest (Hutter et al. 2014), over the trials that trained to the
    end. The result is empty if there are fewer than FEWEST_FOR_IMPORTANCE of them or nothing varies. Keys with a `when`
    are left out because some trials have no value for them. Keys with only one value are left out too.
    """
    import optuna

    whole = [one for one in trials if one.status == "finished"]
    distributions = {
        name: one
        for name, one in make_distributions(space).items()
        if len({each.account.values[name] for each in whole}) > 1
    }
    if len(whole) < FEWEST_FOR_IMPORTANCE or not distributions:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={name: one.account.values[name] for name in distributions},
                distributions=distributions,
                value=one.worth.objective,
            )
            for one in whole
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        return evaluator.evaluate(study, params=list(distributions))
    except RuntimeError:  # the objectives differ only by rounding
        return {}


def build_table(rows: Sequence[Mapping[str, Any]]) -> pyarrow.Table:
    """Build a table from rows. A column that mixes types becomes text; one of integers and floats becomes floats."""
    columns = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        kinds = {type(value) for value in values if value is not None}
        if len(kinds - {int, float}) and len(kinds) > 1:
            values = [None if value is None else str(value) for value in values]
        elif kinds == {int, float}:
            values = [None if value is None else float(value) for value in values]
        columns[name] = values
    return pyarrow.table(columns)


def _format_best(sweep: Sweep, best: TrialResult, is_upper_bound: bool) -> str:
    config = make_best_config(sweep, best)
    mark = "; the sweep used ground truth: an upper bound" if is_upper_bound else ""
    header = (
        f"# The best of a sweep, trial {best.name}, {sweep.config.sweep.objective} {best.worth.objective:.4f}{mark}.\n"
    )
    return header + format_config(config)


def make_best_config(sweep: Sweep, best: TrialResult) -> Config:
    """Return the config of a trial as a run of its own, in the folder `best` of the sweep and on the sweep's shards."""
    config = sweep.make_config(best.account.values)
    root = sweep.config.run.dir
    return replace(
        config,
        run=replace(config.run, dir=f"{root}/best"),
        data=replace(config.data, shards=config.data.shards or f"{root}/shards"),
        sweep=SweepConfig(),
    )


def summarize_sweep(sweep: Sweep, ranked: Sequence[TrialResult], is_upper_bound: bool) -> dict[str, Any]:
    """Return the contents of sweep.json.

    Steps are those of both phases, and a shared warm-up counts once. The rank correlation is Spearman's, between the
    objective and the V-measure with a known factor, over the trials that have both.
    """
    settings = sweep.config.sweep
    steps = full = 0
    for one in ranked:
        phases = sweep.make_config(one.account.values).disentangle
        if one.account.attempts:
            steps += one.account.step + (0 if one.account.is_warm else phases.warmup.steps)
        full += phases.warmup.steps + phases.main.steps
    worths = [one.worth for one in ranked if one.worth.objective is not None and one.worth.factor]
    scored = [(worth.objective, worth.v_measure) for worth in worths]
    varies = len(scored) >= FEWEST_RANKED and all(len(set(values)) > 1 for values in zip(*scored, strict=True))
    statuses = [one.status for one in ranked]
    return {
        "objective": settings.objective,
        "tradeoffs": list_objectives(settings)[1:],
        "uses_ground_truth": is_upper_bound,
        "best": ranked[0].name,
        "best_objective": ranked[0].worth.objective,
        "has_task": ranked[0].worth.has_task,
        "trials": {status: statuses.count(status) for status in dict.fromkeys(statuses)},
        "steps": steps,
        "full_grid_steps": full,
        "scored_after_rank_correlation": float(spearmanr(scored).statistic) if varies else None,
        "scored_after_trials": len(scored),
    }


def print_results(root: Path, best: str) -> None:
    """Print the best trials, the cost of the sweep, and the next command. `best` is the path of best.yaml in it.

    Raises NothingFoundError if the best trial found no hidden task.
    """
    rows, summary = read_results(root)
    _print_table(rows[:SHOWN_TRIALS])
    say(f"sweep: {describe_cost(rows, summary)}")
    if not summary["has_task"]:
        raise NothingFoundError(
            f"no trial of the sweep found a hidden task; train longer (disentangle.main.steps) or vary other keys, in another "
            f"run.dir than {root}."
        )
    say(f"sweep: {describe_best(rows, summary)}")
    say(f"sweep: wrote {root / BEST_NAME}. Next: detaux run {best}")


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    console = Terminal()
    hidden = [name for name in ("attempts", "error", "scored_after_factor") if not any(row[name] for row in rows)]
    names = [name for name in rows[0] if name not in (*hidden, "attempts", "error")]
    table = Table(title="best trials")
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_format(row[name]) for name in names))
    if console.is_terminal:
        console.print(table, markup=False)
    else:  # a pipe has no width
        Terminal(width=40 * len(names)).print(table, markup=False)


def _format(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
