"""Run the chain of stages: check what each stage reads, skip what is done, and run the rest on the ranks it needs."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

from detaux.artefacts import CONFIG_NAME, DISCOVERY_NAME, HELD_OUT_LABELS, MANIFEST_NAME, REPORT_NAME
from detaux.config import Config, reads
from detaux.config.load import change_config, get_value, iterate_fields
from detaux.config.location import expand_path, find_folder
from detaux.config.variants import Variant, list_variants
from detaux.data.labels_file import found_nothing, list_labels
from detaux.data.schema import read_manifest
from detaux.discover.check import check_discover
from detaux.disentangle.model import Disentangler
from detaux.disentangle.restarts import list_models
from detaux.errors import NothingFoundError, UserError
from detaux.multitask.check import check_multitask
from detaux.runtime.agreement import run_each, run_first
from detaux.runtime.device import select_device
from detaux.runtime.engines import choose_engine
from detaux.runtime.files import lock_folder
from detaux.runtime.heartbeat import watch_ranks
from detaux.runtime.progress import say
from detaux.runtime.ranks import join_ranks
from detaux.runtime.record import (
    compute_inputs_hash,
    hash_inputs,
    is_done,
    is_edited,
    is_lost,
    keep_edited,
    load_stage_config,
    read_record,
)
from detaux.runtime.signals import raise_signals
from detaux.stages import DECODER, LABELS, MANIFEST, MODEL, STAGES, Input, Stage
from detaux.tracking.lineage import log_stage
from detaux.tracking.mirrors import check_mirrors

# hidden files that may be deleted with their folder: the lock of our own commands, and a view of the Finder of macOS
WORTHLESS = (".lock", ".DS_Store")
FOLDER_SOURCES = (
    "folder",
    "glyphs",
    "cifar10",
    "svhn",
    "cars",
    "faces",
)  # any new file in data.path changes what they read
SHOWN_FILES = 20  # most quarantined files printed by name; the manifest names all


@dataclass(frozen=True)
class Job:
    """Hold a checked config, and the arguments that gave it, which the next command repeats.

    `fetched` is the cache folder of the shard set if `data.shards` is a URL. `observe` sees training step by step. A job
    with a `variant` has the config of that variant of the run's discovery, and runs only the stages that it repeats.
    """

    config: Config
    arguments: str
    fetched: Path | None = None
    observe: Callable[[int, Disentangler], None] | None = None
    variant: Variant | None = None

    @property
    def root(self) -> Path:
        return expand_path(self.config.run.dir, "run.dir")

    @property
    def shards(self) -> Path:
        """Return the shard folder that the run reads: `data.shards`, or its copy in the cache, or RUN/shards."""
        given = self.config.data.shards
        return self.fetched or (find_folder(given) if given else None) or self.root / "shards"

    def list_inputs(self, stage: str) -> dict[str, Path]:
        """Return the files a stage reads, by the names its record hashes them under."""
        return {name: path for one in STAGES[stage].inputs for name, path in self.list_files(one).items()}

    def list_files(self, one: Input) -> dict[str, Path]:
        """Return the files of an input by their names: a model for each restart, labels for each variant, else one or none."""
        folder = self.locate(one.maker)
        if one == MODEL:
            return list_models(folder, self.config)
        if one == DECODER and self.config.multitask.recombine == 0:
            return {}
        return list_labels(folder / one.file, self.config) if one == LABELS else {one.name: folder / one.file}

    def locate(self, stage: str) -> Path:
        """Return the folder of a stage; for the stage `shards`, return the shard set that the run reads.

        A variant has folders of its own for the stages that it repeats, and shares all others with the run.
        """
        if stage == MANIFEST.maker:
            return self.shards
        if self.variant and stage in list_repeated(self.variant):
            return self.variant.locate(self.root) / stage
        return self.root / stage

    @cached_property
    def variants(self) -> list["Job"]:
        """Return a job for each variant of the run's discovery."""
        return [
            replace(self, config=change_config(self.config, one.changes, f"variant {one.name}"), variant=one)
            for one in list_variants(self.config.multitask)
        ]

    def list_variants(self, stage: str) -> list["Job"]:
        """Return the jobs of the variants that repeat a stage."""
        return [one for one in self.variants if one.variant and stage in list_repeated(one.variant)]

    def make_command(self, stage: str) -> str:
        """Return the command that runs one stage of this job."""
        root, shards = (shlex.quote(str(folder)) for folder in (self.root, self.shards))
        return STAGES[stage].command.format(stage=stage, arguments=self.arguments, root=root, shards=shards)


def list_repeated(variant: Variant) -> tuple[str, ...]:
    """Return the stages that a variant of discovery repeats: the first one that reads a changed key, and those after."""
    makers = (MODEL.maker, LABELS.maker)
    is_changed = [any(reads(stage, dotted) for dotted in variant.changes) for stage in makers]
    return makers[is_changed.index(True) :]


def run_stages(stages: Sequence[str], job: Job) -> None:
    """Run stages of a job one after the other, together with the other ranks that the launcher started.

    After a stage, the variants of discovery that repeat it run it too. Raises what a stage raises. If discovery finds
    nothing, its error is raised only after the report has been made.
    """
    with join_job(job), ExitStack() as stack:
        run_first(lambda: check_mirrors(job.config.track))
        if "discover" in stages:  # hours before the stage would find out
            run_first(lambda: check_discover(job.config.discover))
        if "multitask" in stages:
            run_first(lambda: check_multitask(job.config.multitask))
        run_first(lambda: stack.enter_context(_hold_folder(job)))
        _chain(stages, _fetch_manifest(job))


@contextmanager
def join_job(job: Job) -> Iterator[None]:
    """Work on a job with the other ranks that the launcher started. Signals raise errors, and lost ranks are found."""
    engine = job.config.engine
    device = select_device(job.config.run)
    with raise_signals(), join_ranks(device, needs_group=engine.name == "deepspeed"), watch_ranks():
        choose_engine(engine)
        yield


def _fetch_manifest(job: Job) -> Job:
    """Fetch the manifest if `data.shards` is a URL, the same for all ranks; return the job with the cache's folder."""
    data = job.config.data
    if not data.shards or find_folder(data.shards) is not None:
        return job
    from detaux.data.remote import fetch_manifest, store_manifest

    text = run_first(lambda: fetch_manifest(data))
    return replace(job, fetched=run_each(lambda: store_manifest(text, data.remote_cache)))


def _fetch_tars(stage: str, job: Job) -> None:
    """Fetch the tars that a stage reads into the cache of this machine if `data.shards` is a URL."""
    splits, key = STAGES[stage].splits, STAGES[stage].held_out_key
    if key and get_value(job.config, key):
        splits += tuple(HELD_OUT_LABELS)
    if job.fetched is not None and splits:
        from detaux.data.remote import fetch_tars

        fetch_tars(job.config.data, job.fetched, splits)


@contextmanager
def _hold_folder(job: Job) -> Iterator[None]:
    root = job.root
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"run.dir={root} cannot be made: {error.strerror}.") from None
    check_run_folder(job)
    with lock_folder(root):
        yield


def check_run_folder(job: Job) -> None:
    """Raise UserError if a stage's folder in the run's folder holds files, but none that the stage leaves there.

    Shards and the report check their folders themselves before they replace anything.
    """
    for stage in STAGES.values():
        if not stage.inputs:
            continue
        for folder in (one.locate(stage.name) for one in (job, *job.list_variants(stage.name))):
            name = folder.relative_to(job.root)
            if folder.exists() and not folder.is_dir():
                raise UserError(f"run.dir={job.root} holds a file called {name}; set another run.dir.")
            found = [path.name for path in folder.iterdir()] if folder.exists() else []
            if found and not set(stage.leaves) & set(found):
                raise UserError(
                    f"run.dir={job.root}: its folder {name} holds {sorted(found)[0]} and nothing of a run; set another run.dir."
                )


def _chain(stages: Sequence[str], job: Job) -> None:
    nothing: NothingFoundError | None = None
    for stage in stages:
        is_given = stage == MANIFEST.maker and job.config.data.shards
        if len(stages) > 1 and (is_given or (nothing and LABELS in STAGES[stage].inputs)):
            continue
        try:
            run_stage(stage, job)
        except NothingFoundError as error:  # raised later, because the report shows the scores even then
            nothing = error
        for variant in job.list_variants(stage):
            _run_variant(stage, variant)
    if nothing:
        raise nothing


def _run_variant(stage: str, job: Job) -> None:
    """Run a stage of a variant. If it finds no task, say so, because the run has the labels of the others."""
    assert job.variant
    try:
        run_stage(stage, job)
    except NothingFoundError as error:
        say(f"{stage}: variant {job.variant.title}: {str(error).splitlines()[0]}")


def run_stage(name: str, job: Job) -> None:
    """Run one stage of a job, unless its inputs and its outputs are what its record says.

    All ranks run a shared stage. The first rank runs any other stage while the rest wait. If an earlier stage has not
    run, raises UserError with the missing file and the command that makes it.
    """
    stage, folder = STAGES[name], job.locate(name)
    following = next((later for earlier, later in pairwise(STAGES) if earlier == name), None)
    if name == MANIFEST.maker:
        run_first(lambda: make_shards(job.config, folder, job.make_command(following or name)))
        return
    if run_first(lambda: is_kept(name, job)):
        return
    if job.variant:
        say(f"{name}: variant {job.variant.title} of the run's discovery begins, in {folder}.")
    for editable in (*stage.editable, *stage.unread):
        run_first(partial(keep_edit, folder, editable))
    if stage.is_shared:
        run_each(lambda: _fetch_tars(name, job))
        call_runner(stage, job, folder)
        run_first(lambda: log_stage(job.config, name, folder, job.list_inputs(name)))
    else:
        run_first(lambda: _run_alone(stage, job, folder))
    left = folder if following else folder / REPORT_NAME
    way_on = job.make_command(following) if following else "open it in a browser."
    say(f"{name}: wrote {left}.{'' if job.variant else f' Next: {way_on}'}")


def call_runner(stage: Stage, job: Job, folder: Path) -> None:
    """Call the function that runs a stage with the config, the folders of its inputs, and its own folder."""
    observed = {"observe": job.observe} if stage.is_observed else {}
    stage.load_runner()(job.config, *(job.locate(one.maker) for one in stage.inputs), folder, **observed)


def keep_edit(folder: Path, name: str) -> None:
    """Keep a file that a person has edited, under another name, before its stage writes it again, and say so."""
    if kept := keep_edited(folder, name):
        say(
            f"{folder / name} has changed since its stage wrote it, and the stage will write it again; the changed file is "
            f"kept as {kept}."
        )


def _run_alone(stage: Stage, job: Job, folder: Path) -> None:
    _fetch_tars(stage.name, job)
    call_runner(stage, job, folder)


def is_kept(stage: str, job: Job) -> bool:
    """Decide whether what a stage left is still valid, so that it need not run.

    Raises UserError if a file that it reads is missing or belongs to another config.
    """
    for one in STAGES[stage].inputs:
        _check_input(one, stage, job)
    inputs, folder, declared = job.list_inputs(stage), job.locate(stage), STAGES[stage]
    if inputs and not job.config.data.shards:
        _check_own_shards(job)
    if not inputs:
        return False
    inputs_hash = compute_inputs_hash(stage, job.config, hash_inputs(inputs))
    if not is_done(folder, inputs_hash, declared.editable, declared.unread):
        return False
    say(f"{stage}: unchanged, {folder} is kept.")
    _say_changes(declared, folder)
    return True


def _say_changes(stage: Stage, folder: Path) -> None:
    """Say which files of a kept stage a person has edited or deleted, and what that changes."""
    for name in (*stage.editable, *stage.unread):
        if is_edited(folder, name):
            use = "it is kept, and no stage reads it" if name in stage.unread else "the stages after it use it as it is"
            say(f"{stage.name}: {folder / name} was edited; {use}.")
        elif is_lost(folder, name):
            say(f"{stage.name}: {folder / name} is missing; no stage reads it, and only another discovery makes it.")


def _check_input(one: Input, stage: str, job: Job) -> None:
    """Raise UserError if a file of an input does not exist, with the command that makes it."""
    for path in job.list_files(one).values():
        if path.is_file():
            continue
        if one == LABELS and found_nothing(path):
            raise UserError(f"discovery found no task, so there is no {path}; see {path.with_name(DISCOVERY_NAME)}.")
        raise UserError(f"{path} does not exist, and {stage} reads it; run `{job.make_command(one.maker)}` first.")


def _check_own_shards(job: Job) -> None:
    """Refuse to read shards that the run built with other keys, because the stage would not train on what it claims."""
    if not (job.shards / CONFIG_NAME).is_file():  # a set that a person put there has no config to compare with
        return
    built = load_stage_config(job.shards)
    for dotted, _, _ in iterate_fields():
        if not reads(MANIFEST.maker, dotted):
            continue
        had, wanted = get_value(built, dotted), get_value(job.config, dotted)
        if had != wanted:
            raise UserError(
                f"{job.shards} was built with {dotted}={had} and the config says {wanted}; run "
                f"`{job.make_command(MANIFEST.maker)}` again, or name another set by data.shards."
            )


def make_shards(config: Config, folder: Path, following: str) -> None:
    """Build a shard set unless it is already built, and name the files that were left out."""
    from shards.build import list_inputs

    if is_done(folder, compute_inputs_hash(MANIFEST.maker, config, hash_inputs(list_inputs(config)))):
        say(f"shards: unchanged, {folder} is kept.")
    else:
        _check_replaceable(folder, config)
        STAGES[MANIFEST.maker].load_runner()(config, folder)
        say(f"shards: wrote {folder}. Next: {following}")
    manifest = read_manifest(folder)
    say(f"shards: {manifest.describe_classes()}")
    left_out = [f"{entry['file']}: {entry['reason']}" for entry in manifest.quarantined]
    reasons = {
        "webdataset": "no tar has such a name",
        "cars": "no annotation names it",
        "glyphs": "no font has such a name",
    }
    reason = reasons.get(manifest.dataset, "no picture has such a name")
    for verb, files in (
        ("left out", left_out),
        (f"passed over, since {reason},", manifest.passed_over),
    ):
        for file in files[:SHOWN_FILES]:
            say(f"shards: {verb} {file}")
        if len(files) > SHOWN_FILES:
            say(f"shards: {verb} {len(files) - SHOWN_FILES} more; {folder / MANIFEST_NAME} names all.")


def _check_replaceable(folder: Path, config: Config) -> None:
    """Refuse a folder that holds anything but a shard set, or that is in the source, since a build replaces it."""
    source = expand_path(config.data.path, "data.path").resolve() if config.data.path else None
    parents = [folder.resolve(), *(folder.resolve().parents if config.data.source in FOLDER_SOURCES else ())]
    if source in parents:
        raise UserError(
            f"{folder} is in data.path={config.data.path}, so the next build would read it; give a folder elsewhere."
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; the shard set needs a folder of its own.")
    names = sorted(path.name for path in folder.iterdir() if path.name not in WORTHLESS) if folder.exists() else []
    known = _list_set_files(folder) if names else set()
    foreign = [name for name in names if name not in known]
    if foreign or (names and not known):
        raise UserError(
            f"{folder} holds {(foreign or names)[0]}, which belongs to no shard set; give a new folder, or move it away."
        )


def _list_set_files(folder: Path) -> set[str]:
    """Return the files of the shard set in a folder, by its manifest or its record; empty if there is no set."""
    record = read_record(folder)
    names = set(record.get("outputs", {})) if record.get("stage") == MANIFEST.maker else set()
    with suppress(UserError):  # if the manifest is missing or damaged, only the record counts
        names |= {shard.name for shard in read_manifest(folder).shards} | {MANIFEST_NAME}
    return names | set(STAGES[MANIFEST.maker].leaves) if names else names
