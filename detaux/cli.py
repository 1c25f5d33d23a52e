"""The command line: parse, check what a stage reads, skip what is done, call the stage.

Heavy modules are imported by the command that needs them, so that `detaux --help` answers at once.
"""

import argparse
import errno
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import detaux
from detaux.config import NEUTRAL_KEYS, READ_BY, STAGE_SECTIONS, Config, load_config
from detaux.config.load import check_together, format_help, iterate_fields
from detaux.errors import InterruptedRunError, NonFiniteLossError, NothingFoundError, UserError

EXAMPLES = """\
examples:
  detaux run configs/quickstart.yaml
  detaux run configs/quickstart.yaml data.source=folder data.path=~/photos data.principal=class
  detaux shards build digits --out shards/digits
  detaux report runs/default
"""
STAGES = ("shards", "disentangle", "discover", "multitask", "report")
STAGE_HELP = {
    "run": "all five stages: shards, disentangle, discover, multitask, report",
    "disentangle": "shards -> disentangler",
    "discover": "disentangler + shards -> auxiliary labels",
    "multitask": "shards + auxiliary labels -> classifiers and their accuracies",
}
EDITABLE = {"discover": "labels.parquet"}  # what a person may change between two stages
SHARD_FILES = ("manifest.json", "config.yaml", "record.json")
SHOWN_FILES = 20  # quarantined files printed by name; the manifest names all
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one sentence and exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`.")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="detaux", description=detaux.__doc__, epilog=EXAMPLES, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"detaux {detaux.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for stage, meaning in STAGE_HELP.items():
        keys = f"keys:\n{format_help(STAGE_SECTIONS[stage])}"
        command = commands.add_parser(stage, help=meaning, description=meaning, epilog=keys, formatter_class=raw)
        command.add_argument("config", metavar="CONFIG.yaml")
        command.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    shards = commands.add_parser("shards", help="build, verify, describe or repack a shard set")
    actions = shards.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=_Parser)
    keys = f"keys:\n{format_help(STAGE_SECTIONS['shards'])}"
    build = actions.add_parser("build", help="dataset -> tars and manifest.json", epilog=keys, formatter_class=raw)
    build.add_argument("source", metavar="SOURCE", help="a data.source such as digits, or a CONFIG.yaml that names one")
    build.add_argument("--out", required=True, metavar="DIR")
    build.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    for action, meaning in (
        ("verify", "read a shard set again and name what is wrong"),
        ("info", "describe a shard set"),
    ):
        actions.add_parser(action, help=meaning).add_argument("folder", metavar="DIR")
    repack = actions.add_parser("repack", help="standard layout -> packed layout")
    repack.add_argument("folder", metavar="DIR")
    repack.add_argument("--out", required=True, metavar="DIR2")
    keys = f"keys:\n{format_help(['report'])}"
    report = commands.add_parser("report", help="run folders -> report.html", epilog=keys, formatter_class=raw)
    report.add_argument("runs", nargs="+", metavar="RUN", help="run folders; report.KEY=VALUE may follow them")
    report.add_argument(
        "--out", metavar="DIR", help="default: RUN/report, or `report` beside the first of several runs"
    )
    commands.add_parser("doctor", help="what is installed, and which backends will be used and why")
    return parser


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command; key=value may stand before or after options. Raises UserError for what is not understood."""
    parsed, extra = build_parser().parse_known_args(arguments)
    overrides = [text for text in extra if "=" in text and not text.startswith("-")]
    if extra and (overrides != extra or not hasattr(parsed, "overrides")):
        raise UserError(f"unrecognized arguments: {shlex.join(extra)}; see `detaux {parsed.command} --help`.")
    if overrides:
        parsed.overrides = [*parsed.overrides, *overrides]
    return parsed


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code.

    0 done, 1 training diverged, 2 a user's mistake, 3 no task found, 128 + n ended by signal n.
    """
    try:
        parsed = parse_arguments(arguments)
        return COMMANDS[parsed.command](parsed)
    except (UserError, NothingFoundError, NonFiniteLossError, InterruptedRunError) as error:
        return _fail(str(error), error.exit_code)
    except (PermissionError, NotADirectoryError) as error:
        return _fail(f"{error.filename}: {error.strerror}.", UserError.exit_code)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("detaux", "shards"):
            raise
        return _fail(
            f"the Python package {error.name} is missing; run `pip install --editable .` in the project's folder.",
            UserError.exit_code,
        )
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror}; what was checkpointed is intact.", UserError.exit_code)
    except KeyboardInterrupt:
        return _fail("stopped at once; what was checkpointed is intact.", 130)
    except SystemExit as request:  # argparse leaves this way after --help and --version
        return request.code if isinstance(request.code, int) else 0


def _fail(sentence: str, exit_code: int) -> int:
    print(f"detaux: {' '.join(sentence.split())}", file=sys.stderr)
    return exit_code


@dataclass(frozen=True)
class Job:
    """A checked config, its run folder, and the arguments that gave it, for the next command to repeat."""

    config: Config
    arguments: str

    @property
    def root(self) -> Path:
        return Path(self.config.run.dir).expanduser()

    @property
    def shards(self) -> Path:
        """The shard folder the run reads: `data.shards`, or RUN/shards."""
        given = self.config.data.shards
        return Path(given).expanduser() if given else self.root / "shards"

    def list_inputs(self, stage: str) -> dict[str, Path]:
        """The files a stage reads, by the names its record hashes them under."""
        manifest = self.shards / "manifest.json"
        model = self.root / "disentangle" / "checkpoint" / "model.safetensors"
        labels = self.root / "discover" / "labels.parquet"
        inputs = {
            "disentangle": {"manifest": manifest},
            "discover": {"manifest": manifest, "model": model},
            "multitask": {"manifest": manifest, "labels": labels},
        }
        return inputs.get(stage, {})

    def make_command(self, stage: str) -> str:
        """The command that runs one stage of this job."""
        if stage == "shards":
            return f"detaux shards build {self.arguments} --out {shlex.quote(str(self.shards))}"
        if stage == "report":
            return f"detaux report {shlex.quote(str(self.root))}"
        return f"detaux {stage} {self.arguments}"


def _run_pipeline(parsed: argparse.Namespace) -> int:
    from detaux.runtime.files import lock_folder

    if "=" in parsed.config and not Path(parsed.config).is_file():
        raise UserError(
            f"{parsed.config!r} stands where CONFIG.yaml is expected; put the config file before key=value."
        )
    config = load_config(parsed.config, parsed.overrides)
    check_together(config)
    job = Job(config, shlex.join([parsed.config, *parsed.overrides]))
    _make_run_folder(job.root)
    with lock_folder(job.root):
        return _run_stages(parsed, job)


def _run_stages(parsed: argparse.Namespace, job: Job) -> int:
    config = job.config
    if parsed.command != "run":
        run_stage(parsed.command, job)
        return 0
    nothing: NothingFoundError | None = None
    for stage in STAGES:
        if (stage == "shards" and config.data.shards) or (stage == "multitask" and nothing):
            continue
        try:
            run_stage(stage, job)
        except NothingFoundError as error:  # the report shows the scores all the same
            nothing = error
    if nothing:
        raise nothing
    return 0


def run_stage(stage: str, job: Job) -> None:
    """Run one stage of a job, unless its inputs and its outputs are what its record says.

    Raises UserError, naming the file and the command that makes it, where an earlier stage has not run.
    """
    from detaux.runtime.progress import say
    from detaux.runtime.record import compute_inputs_hash, hash_inputs, is_done, is_edited

    if stage == "shards":
        _build_shards(job.config, job.shards, job.make_command("disentangle"))
        return
    inputs = job.list_inputs(stage)
    makers = {"manifest": "shards", "model": "disentangle", "labels": "discover"}
    for name, path in inputs.items():
        if not path.is_file():
            found_nothing = name == "labels" and (path.parent / "discovery.json").is_file()
            raise UserError(
                f"discovery found no task, so there is no {path}; see {path.parent / 'discovery.json'}."
                if found_nothing
                else f"{path} does not exist, and {stage} reads it; run `{job.make_command(makers[name])}` first."
            )
    if inputs and not job.config.data.shards:
        _check_own_shards(job)
    folder, editable = job.root / stage, EDITABLE.get(stage)
    if inputs and is_done(folder, compute_inputs_hash(stage, job.config, hash_inputs(inputs)), editable):
        say(f"{stage}: unchanged, {folder} is kept.")
        if editable and is_edited(folder, editable):
            say(f"{stage}: {folder / editable} was edited; the stages after it use it as it is.")
        return
    RUNNERS[stage](job, folder)
    following = STAGES[STAGES.index(stage) + 1 :]
    left = folder if following else folder / "report.html"
    say(f"{stage}: wrote {left}. Next: {job.make_command(following[0]) if following else 'open it in a browser.'}")


def _check_own_shards(job: Job) -> None:
    """Refuse to read shards that the run built under other keys: the stage would train on what its config denies."""
    path = job.shards / "config.yaml"
    if not path.is_file():  # a set that was put there by hand has no config to compare with
        return
    built = load_config(path)
    for dotted, _, _ in iterate_fields():
        section, _, name = dotted.partition(".")
        if section != "data" or dotted in NEUTRAL_KEYS or dotted in READ_BY:
            continue
        had, wanted = getattr(built.data, name), getattr(job.config.data, name)
        if had != wanted:
            raise UserError(
                f"{job.shards} was built with {dotted}={had} and the config says {wanted}; run "
                f"`{job.make_command('shards')}` again, or name another set by data.shards."
            )


def _make_run_folder(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"run.dir={root} cannot be made: {error.strerror}.") from None


def _disentangle(job: Job, folder: Path) -> None:
    from detaux.disentangle.train import run_disentangle

    run_disentangle(job.config, job.shards, folder)


def _discover(job: Job, folder: Path) -> None:
    from detaux.discover.run import run_discover

    run_discover(job.config, job.shards, job.root / "disentangle", folder)


def _multitask(job: Job, folder: Path) -> None:
    from detaux.multitask.train import run_multitask

    run_multitask(job.config, job.shards, job.root / "discover", folder)


def _report(job: Job, folder: Path) -> None:
    from detaux.report.build import build_report

    build_report([job.root], folder, job.config.report)


RUNNERS: dict[str, Callable[[Job, Path], None]] = {
    "disentangle": _disentangle,
    "discover": _discover,
    "multitask": _multitask,
    "report": _report,
}


def _build_shards(config: Config, folder: Path, following: str) -> None:
    """Build a shard set unless it stands already, and name the files that were left out."""
    from detaux.data.schema import read_manifest
    from detaux.runtime.progress import say
    from detaux.runtime.record import compute_inputs_hash, hash_inputs, is_done
    from shards.build import build_shards, list_inputs

    if is_done(folder, compute_inputs_hash("shards", config, hash_inputs(list_inputs(config)))):
        say(f"shards: unchanged, {folder} is kept.")
    else:
        _check_replaceable(folder, config)
        build_shards(config, folder)
        say(f"shards: wrote {folder}. Next: {following}")
    quarantined = read_manifest(folder).quarantined
    for entry in quarantined[:SHOWN_FILES]:
        say(f"shards: left out {entry['file']}: {entry['reason']}")
    if len(quarantined) > SHOWN_FILES:
        say(f"shards: left out {len(quarantined) - SHOWN_FILES} more; {folder / 'manifest.json'} names all.")


def _check_replaceable(folder: Path, config: Config) -> None:
    """A build replaces its folder whole: refuse one that holds anything but a shard set, or that is the source."""
    source = Path(config.data.path).expanduser().resolve() if config.data.path else None
    parents = [folder.resolve(), *(folder.resolve().parents if config.data.source == "folder" else ())]
    if source in parents:
        raise UserError(f"{folder} lies in data.path={config.data.path}, which the next build would read; set another.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; the shard set needs a folder of its own.")
    entries = sorted(folder.iterdir()) if folder.exists() else []
    foreign = [path.name for path in entries if path.suffix != ".tar" and path.name not in SHARD_FILES]
    if entries and (foreign or not (folder / "manifest.json").is_file()):
        raise UserError(f"{folder} holds {(foreign or [entries[0].name])[0]} and is no shard set; give a new folder.")


def _run_shards(parsed: argparse.Namespace) -> int:
    from detaux.runtime.progress import say

    if parsed.action == "build":
        is_file = parsed.source.endswith((".yaml", ".yml"))
        overrides = [] if is_file else [f"data.source={parsed.source}"]
        config = load_config(parsed.source if is_file else None, overrides + parsed.overrides)
        config_file = shlex.quote(parsed.source) if is_file else "CONFIG.yaml"
        following = f"detaux run {config_file} data.shards={shlex.quote(parsed.out)}"
        _build_shards(config, Path(parsed.out), following)
        return 0
    folder = Path(parsed.folder)
    if parsed.action == "repack":
        from shards.repack import repack_shards

        repack_shards(folder, Path(parsed.out))
        say(f"shards: wrote {parsed.out}. Next: detaux shards verify {shlex.quote(parsed.out)}")
        return 0
    from shards.verify import describe_shards, verify_shards

    if parsed.action == "info":
        say("\n".join(describe_shards(folder)))
        return 0
    problems = verify_shards(folder)
    for problem in problems:
        say(str(problem))
    if problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError(f"{folder} has {count}; build the shard set again.")
    say(f"{folder} is sound.")
    return 0


def _run_report(parsed: argparse.Namespace) -> int:
    from detaux.report.build import build_report
    from detaux.runtime.progress import say

    overrides = [text for text in parsed.runs if text.startswith("report.") and "=" in text]
    runs = [Path(text) for text in parsed.runs if text not in overrides]
    if not runs:
        raise UserError(f"{overrides[0]} names no run; give the run.dir of a finished run.")
    for run in runs:
        if not run.is_dir():
            raise UserError(f"{run} is no run folder; give the run.dir of a finished run.")
    config = load_config(None, [*(_read_report_keys(runs[0]) if len(runs) == 1 else []), *overrides])
    default = runs[0] / "report" if len(runs) == 1 else runs[0].parent / "report"
    path = build_report(runs, Path(parsed.out) if parsed.out else default, config.report)
    say(f"report: wrote {path}. Next: open it in a browser.")
    return 0


def _read_report_keys(run: Path) -> list[str]:
    """The report keys a run was made with, as overrides."""
    from detaux.runtime.record import read_stage_config

    folders = (run / stage for stage in reversed(STAGES))
    found = next((folder for folder in folders if (folder / "config.yaml").is_file()), None)
    keys = read_stage_config(found).get("report", {}) if found else {}
    return [f"report.{name}={json.dumps(value)}" for name, value in keys.items()]


def _run_doctor(parsed: argparse.Namespace) -> int:
    from detaux.doctor import print_diagnosis

    print_diagnosis()
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    **dict.fromkeys(STAGE_HELP, _run_pipeline),
    "shards": _run_shards,
    "report": _run_report,
    "doctor": _run_doctor,
}
