"""Run a sweep: make shards, run the trials by Ray Tune, write the tables. After a kill, the same command continues."""

import logging
import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from detaux.artefacts import BEST_NAME, CONFIG_NAME, MANIFEST_NAME, RECORD_NAME
from detaux.config import Config, dump_config, load_config, reads
from detaux.config.load import get_value, iterate_fields
from detaux.config.location import find_folder
from detaux.config.schema import MultitaskConfig
from detaux.config.schema.methods import UNWEIGHTED_METHODS
from detaux.config.variants import drop_comparisons
from detaux.data.schema import read_manifest
from detaux.discover.candidates.registry import FROM_SUBSPACES
from detaux.discover.check import check_discover
from detaux.disentangle.batches import check_batches
from detaux.errors import InterruptedRunError, UserError
from detaux.multitask.check import check_multitask
from detaux.pipeline import Job, keep_edit, make_shards
from detaux.report.build import build_report
from detaux.runtime.files import lock_folder, write_json
from detaux.runtime.progress import say
from detaux.runtime.ranks import read_place
from detaux.runtime.readers import read_json
from detaux.runtime.record import compute_inputs_hash, hash_inputs, is_done, write_record
from detaux.runtime.signals import interrupt_by_signals
from detaux.stages import STAGES, SWEEP
from detaux.sweep.objective import (
    DOWNSTREAM,
    GROUND_TRUTH,
    RUNG,
    STABILITY,
    Worth,
    gives_upper_bound,
    list_objectives,
)
from detaux.sweep.ranks import WAITING, free_ranks, run_on_ranks
from detaux.sweep.ray_start import start_ray
from detaux.sweep.results import OUTPUTS, collect_trials, print_results, write_results
from detaux.sweep.space import Dimension
from detaux.sweep.trial import TRIAL_NAME, Account, Sweep, run_trial

BATCH_KEYS = (
    "disentangle.warmup.batch_size",
    "disentangle.main.batch_size",
    "disentangle.micro_batches",
    "pairs.reuse",
)
INPUTS_NAME, TUNE_NAME = "inputs.json", "tune"
FEWEST_BY_CHANCE, MOST_BY_CHANCE = 3, 10  # trials that TPE draws at random before it fits a model
# Ray reads these on import: no notebook tables, no working folder for a trial, no loggers (trial.json has all)
SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def run_sweep(config: Config, space: Sequence[Dimension], arguments: str) -> None:
    """Run or finish the sweep over `space`, and write best.yaml, trials.parquet and sweep.json into `run.dir`.

    Raises UserError before Ray starts if a package is missing or the folder holds another sweep. Raises
    NothingFoundError if the best trial found nothing.
    """
    _check_sweep(config, space)
    _check_packages()
    job = Job(config, arguments)
    root = job.root.absolute()
    if gives_upper_bound(config, space):
        say("sweep: it uses ground truth (sweep.objective or pairs.partner); the best config is an upper bound")
    root.mkdir(parents=True, exist_ok=True)
    with lock_folder(root):
        _check_folder(config, root)
        shards = _make_shards(job)
        hashes = hash_inputs({"manifest": Path(shards) / MANIFEST_NAME})
        if is_done(root, compute_inputs_hash(SWEEP.name, _strip_config(config), hashes), (BEST_NAME,)):
            say(f"sweep: unchanged, {root} is kept.")
        else:
            _check_inputs(root / INPUTS_NAME, shards, hashes)
            for path in root.glob(f"trials/*/{TRIAL_NAME}"):
                Account.load(path.parent)  # reports a damaged file before Ray starts
            started = time.time()
            dump_config(config, root / CONFIG_NAME)
            sweep = Sweep(config, root, shards, Path.cwd())
            trials = collect_trials(root, _tune(sweep, space))
            keep_edit(root, BEST_NAME)
            write_results(sweep, space, trials)
            # the old record has an earlier config, and the report would compare this one with it
            (root / RECORD_NAME).unlink(missing_ok=True)
            say(f"sweep: wrote {build_report([root], root / 'report', config.report)}")
            write_record(root, SWEEP.name, _strip_config(config), hashes, list(OUTPUTS), started)
        print_results(root, shlex.quote(str(job.root / BEST_NAME)))


def _check_sweep(config: Config, space: Sequence[Dimension]) -> None:
    if read_place()[2] > 1:
        raise UserError("detaux sweep starts its own processes; start it once, without a launcher of ranks.")
    sweep, steps = config.sweep, config.disentangle.main.steps
    is_asha, has_ranks, named = sweep.scheduler == "asha", sweep.ranks > 1, list_objectives(sweep)
    faults = {
        f"model.restarts={config.model.restarts} and sweep.scheduler=asha do not go together, since rungs are steps of one "
        "training; set model.restarts=1 or sweep.scheduler=none": is_asha and config.model.restarts > 1,
        "disentangle.main.steps=0 leaves no step at which sweep.scheduler=asha could stop a trial; set sweep.scheduler=none": (
            is_asha and steps == 0
        ),
        f"sweep.first_rung={sweep.first_rung} is not below disentangle.main.steps={steps}, so that sweep.scheduler=asha would "
        "stop nothing; lower it or set sweep.scheduler=none": is_asha and sweep.first_rung >= steps,
        f"sweep.gpus={sweep.gpus:g} is not allowed; expected a whole number, or a fraction below 1": (
            sweep.gpus > 1 and sweep.gpus % 1
        ),
        f"sweep.gpus={sweep.gpus:g} and sweep.ranks={sweep.ranks} do not go together; each of several ranks takes one GPU or "
        "none": has_ranks and sweep.gpus not in (0, 1),
        "sweep.cpus=0 and sweep.gpus=0 do not go together; raise one, since each rank needs a CPU or a GPU": (
            not sweep.cpus + sweep.gpus
        ),
        f"discover.sources={config.discover.sources} has no source whose candidates depend on the subspaces that the trials "
        f"train; add {' or '.join(FROM_SUBSPACES)}": not set(config.discover.sources) & set(FROM_SUBSPACES),
        f"multitask.methods={config.multitask.methods} has no method that reads the found labels, whose gain the "
        "objective downstream measures; add one": (
            DOWNSTREAM in named and set(config.multitask.methods) <= set(UNWEIGHTED_METHODS)
        ),
        f"multitask.select={config.multitask.select} and the objective downstream do not go together; set "
        "multitask.select=validation": (DOWNSTREAM in named and config.multitask.select != "validation"),
        "discover.stability_samples=0 and the objective stability do not go together; raise it to 1 or more": (
            STABILITY in named and config.discover.stability_samples == 0
        ),
        f"sweep.tradeoffs names sweep.objective={sweep.objective} itself; name other objectives": (
            sweep.objective in sweep.tradeoffs
        ),
        "run.device=cuda and sweep.gpus=0 do not go together; set sweep.gpus=1, or a fraction for trials of one rank": (
            config.run.device == "cuda" and not sweep.gpus
        ),
    }
    check_discover(config.discover)
    if DOWNSTREAM in named:
        check_multitask(config.multitask)
    for sentence, is_fault in faults.items():
        if is_fault:
            raise UserError(f"{sentence}.")
    if not {one.key for one in space} & set(BATCH_KEYS):
        samples = config.disentangle.warmup.batch_size  # or more; if there are fewer, a trial reports it
        check_batches(config, samples, sweep.ranks * config.disentangle.micro_batches)


def _strip_config(config: Config) -> Config:
    """Return the config with defaults for the keys of `multitask` that no trial reads."""
    if DOWNSTREAM in list_objectives(config.sweep):
        return replace(config, multitask=drop_comparisons(config.multitask))
    return replace(config, multitask=MultitaskConfig())


def _check_packages() -> None:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import optuna
        import ray.tune  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"detaux sweep needs the package {error.name}; run `pip install 'detaux[sweep]'`.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # the announcer reports a failed trial, and the trial's log.txt has the traceback
    controller = logging.getLogger("ray.tune.execution.tune_controller")
    controller.addFilter(lambda record: not record.getMessage().startswith("Trial task failed"))


def _check_folder(config: Config, root: Path) -> None:
    """Raise UserError if the folder holds another sweep, or results that are not of a sweep."""
    path = root / CONFIG_NAME
    if not path.is_file():
        foreign = [
            name for name in (*list(STAGES)[1:], "trials", "warmups", TUNE_NAME, *OUTPUTS) if (root / name).exists()
        ]
        if foreign:
            raise UserError(f"run.dir={root} holds {foreign[0]} and is not the folder of a sweep; set another run.dir.")
        return
    had, config = _strip_config(load_config(path, is_frozen=True)), _strip_config(config)
    for dotted, _, _ in iterate_fields():
        old, new = get_value(had, dotted), get_value(config, dotted)
        if old != new and reads(SWEEP.name, dotted):
            raise UserError(
                f"run.dir={root} holds a sweep with {dotted}={old}, and the config says {new}; set another run.dir."
            )


def _check_inputs(path: Path, shards: str, hashes: dict[str, str]) -> None:
    """Raise UserError if earlier trials read other shards. The hashes of the shards are kept in `path`."""
    if path.is_file() and read_json(path, f"delete {path.parent} or set another run.dir") != hashes:
        raise UserError(
            f"run.dir={path.parent} holds trials that read other shards than {shards} has now; set another run.dir."
        )
    write_json(path, hashes)


def _make_shards(job: Job) -> str:
    """Return the path that trials get as data.shards: the set that the config names, or one that is built here."""
    given = job.config.data.shards
    folder = find_folder(given) if given else (job.root / "shards").absolute()
    if folder is None:
        raise UserError(
            f"data.shards={given} is not a folder, and the trials of a sweep need one; copy the shards into a folder."
        )
    if not given:
        make_shards(job.config, folder, f"detaux sweep {job.arguments}")
    elif not (folder / MANIFEST_NAME).is_file():
        raise UserError(f"{folder / MANIFEST_NAME} does not exist; data.shards names no shard set.")
    told = set(list_objectives(job.config.sweep)) & set(GROUND_TRUTH)
    if told and not read_manifest(folder).factors:
        raise UserError(f"the objective {told.pop()} needs known factors, and data.shards={folder} has none.")
    return str(folder.absolute())


def _tune(sweep: Sweep, space: Sequence[Dimension]) -> dict[str, str]:
    """Run the trials that are not done. Return each trial's name with its error ("" if none), in the order of drawing.

    Raises InterruptedRunError if Ctrl-C, SIGTERM or SIGUSR1 stopped them.
    """
    import ray
    from ray import tune

    settings = sweep.config.sweep
    share: dict[str, float] = WAITING if settings.ranks > 1 else {"cpu": settings.cpus, "gpu": settings.gpus}
    trainable = tune.with_resources(_make_trainable(sweep), share)
    state = sweep.root / TUNE_NAME
    try:
        start_ray(settings)
        if any(state.glob("experiment_state-*.json")):
            say("sweep: continues with the trials that are not finished")
            tuner = tune.Tuner.restore(str(state), trainable, resume_unfinished=True, restart_errored=False)
        else:
            shutil.rmtree(state, ignore_errors=True)  # left by a sweep that was killed before its first trial
            tuner = _build_tuner(sweep, space, trainable)
        found: Any = ()
        # Ray's own handler of SIGTERM would end the process at once; Tune takes Ctrl-C for itself, but not through ray://
        with interrupt_by_signals() as request, suppress(KeyboardInterrupt):
            found = tuner.fit()
        ended = [one for one in (found[index] for index in range(len(found))) if _is_over(one)]
        if len(ended) < settings.trials:
            raise InterruptedRunError(request.received or signal.SIGINT, "the trials that are finished")
        return {Path(one.path).name: str(one.error or "") for one in ended}
    finally:
        ray.shutdown()


def _is_over(one: Any) -> bool:
    """Return whether a trial failed, finished or was stopped by ASHA. A trial that a signal stopped is not over."""
    return one.error is not None or bool((one.metrics or {}).get("done"))


def _make_trainable(sweep: Sweep) -> Callable[[dict[str, Any]], None]:
    def trial(config: dict[str, Any]) -> None:  # Tune requires this name
        from ray import tune

        def report(step: int, worth: Worth) -> None:
            known = {"objective": worth.objective, **worth.tradeoffs}
            numbers = {name: value or 0.0 for name, value in known.items()}  # Optuna takes only numbers
            tune.report({"step": step, **numbers, "rung": worth.rung, "is_known": worth.objective is not None})

        run = run_trial if sweep.config.sweep.ranks == 1 else run_on_ranks
        run(config, sweep, tune.get_context().get_trial_id(), report)

    return trial


def _build_tuner(sweep: Sweep, space: Sequence[Dimension], trainable: Any) -> Any:
    from functools import partial

    import optuna
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler
    from ray.tune.search.optuna import OptunaSearch

    from detaux.sweep.space import suggest_values

    settings, seed = sweep.config.sweep, sweep.config.run.seed
    if settings.searcher == "tpe":
        by_chance = min(MOST_BY_CHANCE, max(FEWEST_BY_CHANCE, settings.trials // 4))
        sampler: Any = optuna.samplers.TPESampler(seed=seed, n_startup_trials=by_chance)
    else:
        sampler = optuna.samplers.RandomSampler(seed=seed)
    scheduler: Any = FIFOScheduler()
    if sweep.list_rungs():
        from detaux.sweep.asha import RecallingASHA

        scheduler = RecallingASHA(sweep)
    names = ["objective", *list_objectives(settings)[1:]]
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                partial(suggest_values, space),
                metric=names if len(names) > 1 else names[0],
                mode=["max"] * len(names) if len(names) > 1 else "max",
                sampler=sampler,
            ),
            scheduler=scheduler,
            num_samples=settings.trials,
            max_concurrent_trials=settings.concurrent,
            trial_dirname_creator=_name_folder,
        ),
        run_config=tune.RunConfig(
            name=TUNE_NAME,
            storage_path=str(sweep.root),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=settings.retries),
            callbacks=[_make_announcer(), _make_cleaner(sweep.root)],
        ),
    )


def _make_announcer() -> Any:
    from ray import tune

    class Announcer(tune.Callback):
        """Print a line for each report and each failure of a trial."""

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any) -> None:
            if "objective" in result:
                name, value = ("objective", result["objective"]) if result["is_known"] else (RUNG, result["rung"])
                say(f"sweep: trial {trial.trial_id}: {name} {value:.4f} after {result['step']} steps")

        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            say(f"sweep: trial {trial.trial_id} failed and is tried again; its log.txt says why")

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            say(f"sweep: trial {trial.trial_id} failed; its log.txt says why")

    return Announcer()


def _make_cleaner(root: Path) -> Any:
    from ray import tune

    class Cleaner(tune.Callback):
        """Free the ranks of a trial when it ends or starts again."""

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            free_ranks(root / "trials" / trial.trial_id)

        on_trial_error = on_trial_recover = on_trial_complete

    return Cleaner()


def _name_folder(trial: Any) -> str:
    return trial.trial_id
