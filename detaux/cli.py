"""The command line: parse, check what a stage reads, skip what is done, call the stage.

Heavy modules are imported by the command that needs them, so that `detaux --help` answers at once.
"""

import argparse
import errno
import os
import select
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TextIO

import detaux
from detaux.config import STAGE_SECTIONS, STAGES, Config, load_config
from detaux.config.load import change_config, check_together, format_help
from detaux.config.location import expand_path, find_folder
from detaux.crash import describe_crash
from detaux.errors import MACHINE_ERRORS, DetauxError, UnforeseenError, UserError
from detaux.interrupts import received
from detaux.launch import TARGETS, explain_ranks, find_template, parse_launch, render_launch, start_launch
from detaux.runtime.text import show_text

EXAMPLES = """\
examples:
  detaux run configs/quickstart.yaml
  detaux run configs/quickstart.yaml data.source=folder data.path=~/photos data.principal=class
  detaux shards build digits --out shards/digits
  detaux report runs/default
  detaux watch runs/default
  detaux cluster embeddings.npy --out labels.parquet
  detaux launch --dry-run slurm configs/paper/shapes3d.yaml nodes=4 gpus=8 > job.sbatch
"""
STAGE_HELP = {
    "run": "all five stages: shards, disentangle, discover, multitask, report",
    "disentangle": "shards -> disentangler",
    "discover": "disentangler + shards -> auxiliary labels",
    "multitask": "shards + auxiliary labels -> classifiers and their accuracies",
    "sweep": "many short trainings over sweep.space -> best.yaml and a table of trials",
}
LAUNCH_HELP = """\
The file of launch/ that starts `detaux disentangle CONFIG.yaml key=value ...` with a rank on each GPU, filled in. With --dry-run
it is printed, to be kept, edited and handed to its scheduler. Without, torchrun with nodes=1 starts here and now.
"""
SAFE_HELP = (
    "refuse a config that would start a command (pipe:) or read the environment (${...}); for one from a stranger"
)
ACTION_SPLITS = {  # what is fetched of a shard set that lies elsewhere
    "info": (),
    "order": ("train",),
    "verify": ("train", "validation", "test"),
    "repack": ("train", "validation", "test"),
}
REMOTE_KEYS = ("data.remote_cache", "data.remote_timeout")
CLUSTER_KEYS = (
    "run.seed",
    "run.device",
    "run.threads",
    "discover.clusterer",
    "discover.backend",
    "discover.selection",
    "discover.min_cluster_fraction",
    "discover.min_cluster_size",
    "discover.min_samples",
    "discover.noise",
    "discover.clusters",
    "discover.bandwidth_quantile",
    "discover.max_seconds",
    "discover.max_memory",
)
# of an OSError: what the machine or its limits refuse
SYSTEM_ERRORS = (
    *MACHINE_ERRORS,
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP),
)


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one sentence and exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`.")

    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse says nothing where the reader has gone


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
        command.add_argument("--safe", action="store_true", help=SAFE_HELP)
        command.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    shards = commands.add_parser("shards", help="build, verify, describe or repack a shard set")
    actions = shards.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=_Parser)
    keys = f"keys:\n{format_help(STAGE_SECTIONS['shards'])}"
    build = actions.add_parser("build", help="dataset -> tars and manifest.json", epilog=keys, formatter_class=raw)
    build.add_argument("source", metavar="SOURCE", help="a data.source such as digits, or a CONFIG.yaml that names one")
    build.add_argument("--out", required=True, metavar="DIR")
    build.add_argument("--safe", action="store_true", help=SAFE_HELP)
    build.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    for action, meaning, keys in (
        ("verify", "read a shard set again and name what is wrong", ""),
        ("info", "describe a shard set", ""),
        (
            "order",
            "the sample keys that a rank will see, one a line",
            "world rank workers epoch start batch seed window; ",
        ),
        ("repack", "standard layout -> packed layout", ""),
    ):
        one = actions.add_parser(action, help=meaning, description=meaning)
        one.add_argument("folder", metavar="DIR", help="a folder or a URL")
        one.add_argument(
            "overrides", nargs="*", default=[], metavar="key=value", help=f"{keys}for a URL {' '.join(REMOTE_KEYS)}"
        )
        if action == "repack":
            one.add_argument("--out", required=True, metavar="DIR2")
    keys = f"keys:\n{format_help(['report'])}"
    report = commands.add_parser("report", help="run folders -> report.html", epilog=keys, formatter_class=raw)
    report.add_argument("runs", nargs="+", metavar="RUN", help="run folders; report.KEY=VALUE may follow them")
    report.add_argument(
        "--out", metavar="DIR", help="default: RUN/report, or `report` beside the first of several runs"
    )
    keys = f"keys:\n{format_help(CLUSTER_KEYS)}"
    meaning = "embeddings of any origin -> clusters"
    cluster = commands.add_parser("cluster", help=meaning, description=meaning, epilog=keys, formatter_class=raw)
    cluster.add_argument("embeddings", metavar="EMBEDDINGS", help="a .npy or .safetensors file of numbers [N, D]")
    cluster.add_argument("--out", required=True, metavar="LABELS.parquet")
    cluster.add_argument("--tensor", metavar="NAME", help="which tensor, where a .safetensors file holds several")
    cluster.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    meaning = "the newest training of a run, live in the terminal, until its stage is finished or Ctrl-C"
    watch = commands.add_parser("watch", help=meaning, description=meaning, formatter_class=raw)
    watch.add_argument("run", metavar="RUN", help="the run.dir of a run that has started")
    shown = watch.add_mutually_exclusive_group()
    shown.add_argument("--once", action="store_true", help="one frame and no more, as where the output is piped")
    shown.add_argument(
        "--workspace", action="store_true", help="make a page of panels at W&B, online, and print its address"
    )
    meaning = "a filled launch file for several GPUs or machines"
    keys = f"keys:\n{format_help(STAGE_SECTIONS['disentangle'])}"
    launch = commands.add_parser("launch", help=meaning, description=LAUNCH_HELP, epilog=keys, formatter_class=raw)
    launch.add_argument("--dry-run", action="store_true", help="print the file and start nothing")
    launch.add_argument("--safe", action="store_true", help=SAFE_HELP)
    launch.add_argument("target", metavar="TARGET", help=" ".join(TARGETS))
    launch.add_argument("config", metavar="CONFIG.yaml")
    launch.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="key=value",
        help="nodes=N gpus=N (of each node), both 1 by default, and keys of the config",
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

    0 done, 1 training diverged, 2 a user's mistake, 3 no task found, 70 an error that nobody foresaw, 75 a rank was lost,
    128 + n ended by signal n. Raises BrokenPipeError when the reader of what is printed has gone.
    """
    parsed = argparse.Namespace()
    try:
        parsed = parse_arguments(arguments)
        return COMMANDS[parsed.command](parsed)
    except SystemExit as request:  # argparse leaves this way after --help and --version
        return request.code if isinstance(request.code, int) else 0
    except KeyboardInterrupt:
        return _fail("stopped at once; what was checkpointed is intact.", 130)
    except DetauxError as error:
        return error.exit_code if error.is_told else _fail(str(error), error.exit_code)
    except Exception as error:
        if received:
            return _fail("stopped at once; what was checkpointed is intact.", 130)
        if isinstance(error, BrokenPipeError) and any(map(_has_lost_reader, (sys.stdout, sys.stderr))):
            raise
        if sentence := _explain(error):
            return _fail(sentence, UserError.exit_code)
        return _fail(describe_crash(error, getattr(parsed, "folder", None)), UnforeseenError.exit_code)


def _explain(error: Exception) -> str | None:
    """What an error says that comes from the machine and not from a bug, None of any other."""
    if isinstance(error, OSError) and error.errno in SYSTEM_ERRORS:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; what was checkpointed is intact."
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] not in ("detaux", "shards"):
        return f"the Python package {error.name} is missing; run `pip install --editable .` in the project's folder."
    is_out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if is_out_of_memory or "can't allocate memory" in str(error):
        reason = (str(error).splitlines() or [""])[0][:200].rstrip(".")
        return f"there is not enough memory ({reason}); lower the batch sizes, data.side or data.cache_bytes."
    return None


def _has_lost_reader(stream: TextIO) -> bool:
    """Whether a stream is a pipe that nobody reads any more."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError):  # closed, or no file at all
        return False


def _fail(sentence: str, exit_code: int) -> int:
    rank = os.environ.get("RANK", "0")
    speaker = "detaux" if rank == "0" else f"detaux, rank {rank}"
    print(show_text(f"{speaker}: {' '.join(sentence.split())}"), file=sys.stderr)
    return exit_code


def _run_pipeline(parsed: argparse.Namespace) -> int:
    if "=" in parsed.config and not Path(parsed.config).is_file():
        raise UserError(
            f"{parsed.config!r} stands where CONFIG.yaml is expected; put the config file before key=value."
        )
    config = load_config(parsed.config, parsed.overrides, is_safe=parsed.safe)
    parsed.folder = expand_path(config.run.dir, "run.dir")
    check_together(config)
    if parsed.command == "sweep":
        from detaux.sweep.space import parse_space

        space = parse_space(config)
        from detaux.sweep.run import run_sweep

        run_sweep(config, space, shlex.join([parsed.config, *parsed.overrides]))
        return 0
    from detaux.pipeline import Job, run_stages

    stages = STAGES if parsed.command == "run" else (parsed.command,)
    run_stages(stages, Job(config, shlex.join([parsed.config, *parsed.overrides])))
    return 0


def _run_shards(parsed: argparse.Namespace) -> int:
    from detaux.pipeline import make_shards
    from detaux.runtime.progress import say

    if parsed.action == "build":
        is_file = parsed.source.endswith((".yaml", ".yml"))
        overrides = [] if is_file else [f"data.source={parsed.source}"]
        config = load_config(parsed.source if is_file else None, overrides + parsed.overrides, is_safe=parsed.safe)
        config_file = shlex.quote(parsed.source) if is_file else "CONFIG.yaml"
        following = f"detaux run {config_file} data.shards={shlex.quote(parsed.out)}"
        make_shards(config, Path(parsed.out), following)
        return 0
    remote = [text for text in parsed.overrides if text.split("=")[0] in REMOTE_KEYS]
    query = [text for text in parsed.overrides if text not in remote]
    if query and parsed.action != "order":
        raise UserError(f"{query[0]}: `detaux shards {parsed.action}` takes no key but {' and '.join(REMOTE_KEYS)}.")
    folder = _locate_set(parsed.folder, ACTION_SPLITS[parsed.action], remote)
    if parsed.action == "order":
        from shards.order import list_keys, parse_query

        for key in list_keys(folder, parse_query(query)):
            print(show_text(key))
        return 0
    if parsed.action == "repack":
        from shards.repack import repack_shards

        repack_shards(folder, Path(parsed.out))
        say(f"shards: wrote {parsed.out}. Next: detaux shards verify {shlex.quote(parsed.out)}")
        return 0
    from shards.verify import describe_shards, verify_shards

    if parsed.action == "info":
        for line in describe_shards(folder):
            say(line)
        return 0
    problems = verify_shards(folder)
    for problem in problems:
        say(str(problem))
    if problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError(f"{parsed.folder} has {count}; build the shard set again.")
    say(f"{parsed.folder} is sound.")
    return 0


def _locate_set(shards: str, splits: Sequence[str], remote: Sequence[str]) -> Path:
    """The folder of a shard set; of one that a URL names, its copy in the cache with the tars of these splits, fetched by the
    config keys `remote`."""
    data = load_config(None, remote).data
    folder = find_folder(shards)
    if folder is not None:
        return folder
    from detaux.data.remote import fetch_set

    return fetch_set(replace(data, shards=shards), splits)


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
    made_with = _read_report_keys(runs[0]) if len(runs) == 1 else {}
    config = load_config(None, overrides, base=change_config(Config(), made_with, str(runs[0])))
    default = runs[0] / "report" if len(runs) == 1 else runs[0].parent / "report"
    path = build_report(runs, Path(parsed.out) if parsed.out else default, config.report)
    say(f"report: wrote {path}. Next: open it in a browser.")
    return 0


def _read_report_keys(run: Path) -> dict[str, Any]:
    """The report keys that a run was made with, by their dotted names."""
    from detaux.runtime.record import CONFIG_NAME, read_stage_config

    folders = (run / stage for stage in reversed(STAGES))
    found = next((folder for folder in folders if (folder / CONFIG_NAME).is_file()), None)
    keys = read_stage_config(found).get("report", {}) if found else {}
    return {f"report.{name}": value for name, value in keys.items()}


def _run_cluster(parsed: argparse.Namespace) -> int:
    config = load_config(None, parsed.overrides)
    for text in parsed.overrides:
        if text.split("=")[0] not in CLUSTER_KEYS:
            raise UserError(f"{text}: `detaux cluster` takes no key but {' '.join(CLUSTER_KEYS)}.")
    from detaux.discover.embedding_file import cluster_file

    cluster_file(Path(parsed.embeddings), Path(parsed.out), parsed.tensor, config)
    return 0


def _run_watch(parsed: argparse.Namespace) -> int:
    if parsed.workspace:
        from detaux.tracking.workspace import save_workspace

        print(f"watch: made {save_workspace(Path(parsed.run))}")
        return 0
    from detaux.watch import watch_run

    watch_run(Path(parsed.run), is_once=parsed.once)
    return 0


def _run_launch(parsed: argparse.Namespace) -> int:
    launch = parse_launch(parsed.target, parsed.config, parsed.overrides, is_safe=parsed.safe)
    if not parsed.dry_run:
        start_launch(launch)
    print(render_launch(launch, find_template(TARGETS[launch.target]).read_text(encoding="utf-8")), end="")
    if sentence := explain_ranks(launch):
        print(f"detaux: {sentence}", file=sys.stderr)
    return 0


def _run_doctor(parsed: argparse.Namespace) -> int:
    from detaux.doctor import print_diagnosis

    print_diagnosis()
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    **dict.fromkeys(STAGE_HELP, _run_pipeline),
    "shards": _run_shards,
    "report": _run_report,
    "cluster": _run_cluster,
    "watch": _run_watch,
    "launch": _run_launch,
    "doctor": _run_doctor,
}
