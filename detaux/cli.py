"""Run the command line: parse the arguments, load the config, call the command, and turn errors into exit codes.

Each command imports the heavy modules that it needs, so that `detaux --help` answers at once.
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
from typing import Any, TextIO

from detaux.arguments import CLUSTER_KEYS, OWN_PARSERS, REMOTE_KEYS, parse_arguments
from detaux.config import Config, load_config
from detaux.config.load import change_config
from detaux.config.location import expand_path, find_folder
from detaux.config.together import check_together
from detaux.crash import describe_crash
from detaux.errors import MACHINE_ERRORS, DetauxError, UnforeseenError, UserError
from detaux.interrupts import received
from detaux.launch import TARGETS, explain_ranks, find_template, parse_launch, render_launch, start_launch
from detaux.runtime.text import show_text
from detaux.stages import RUN, STAGES, SWEEP

ACTION_SPLITS = {  # action -> the splits that it fetches if the shard set is at a URL
    "info": (),
    "order": ("train",),
    "verify": ("train", "validation", "test"),
    "repack": ("train", "validation", "test"),
}
# error numbers of an OSError that the machine or its limits cause
SYSTEM_ERRORS = (
    *MACHINE_ERRORS,
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.ENAMETOOLONG),
    *(errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP),
)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code.

    The codes are: 0 done, 1 training diverged, 2 a user's mistake, 3 no task found, 70 an unforeseen error, 75 a rank
    was lost, 128 + n ended by signal n. Raises BrokenPipeError if the reader of the output has gone.
    """
    parsed = argparse.Namespace()
    try:
        parsed = parse_arguments(arguments)
        return HANDLERS[parsed.command](parsed)
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
    """Return a sentence about an error that the machine caused, or None for any other error, such as a bug."""
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
    """Return whether a stream is a pipe that nobody reads any more."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError):  # the stream is closed or no file at all
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
    if parsed.command == SWEEP.name:
        from detaux.sweep.space import parse_space

        space = parse_space(config)
        from detaux.sweep.run import run_sweep

        run_sweep(config, space, shlex.join([parsed.config, *parsed.overrides]))
        return 0
    from detaux.pipeline import Job, run_stages

    stages = tuple(STAGES) if parsed.command == RUN.name else (parsed.command,)
    run_stages(stages, Job(config, shlex.join([parsed.config, *parsed.overrides])))
    return 0


def _run_shards(parsed: argparse.Namespace) -> int:
    from detaux.runtime.progress import say

    if parsed.action == "build":
        from detaux.pipeline import make_shards

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
        raise UserError(f"{query[0]}: `detaux shards {parsed.action}` takes only the keys {' and '.join(REMOTE_KEYS)}.")
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
    """Return the folder of a shard set. For a URL, fetch the tars of `splits` and return the copy in the cache.

    `remote` has key=value texts of the keys that govern fetching.
    """
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
    made_with = _read_report_keys(runs[0]) if len(runs) == 1 else _join_published(runs)
    config = load_config(None, overrides, base=change_config(Config(), made_with, str(runs[0])))
    default = runs[0] / "report" if len(runs) == 1 else runs[0].parent / "report"
    path = build_report(runs, Path(parsed.out) if parsed.out else default, config.report)
    say(f"report: wrote {path}. Next: open it in a browser.")
    return 0


def _read_report_keys(run: Path) -> dict[str, Any]:
    """Read the report keys that a run was made with, by their dotted names."""
    from detaux.artefacts import CONFIG_NAME
    from detaux.runtime.record import read_stage_config

    folders = (run / stage for stage in reversed(STAGES))
    found = next((folder for folder in folders if (folder / CONFIG_NAME).is_file()), None)
    keys = read_stage_config(found).get("report", {}) if found else {}
    return {f"report.{name}": value for name, value in keys.items()}


def _join_published(runs: Sequence[Path]) -> dict[str, Any]:
    """Return the tables of the paper that any of the runs shows in its own report."""
    names = (name for run in runs for name in _read_report_keys(run).get("report.published", []))
    return {"report.published": list(dict.fromkeys(names))}


def _run_cluster(parsed: argparse.Namespace) -> int:
    config = load_config(None, parsed.overrides)
    for text in parsed.overrides:
        if text.split("=")[0] not in CLUSTER_KEYS:
            raise UserError(f"{text}: `detaux cluster` takes only the keys {' '.join(CLUSTER_KEYS)}.")
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


HANDLERS: dict[str, Callable[[argparse.Namespace], int]] = {
    **{name: _run_pipeline for name in (RUN.name, *STAGES, SWEEP.name) if name not in OWN_PARSERS},
    "shards": _run_shards,
    "report": _run_report,
    "cluster": _run_cluster,
    "watch": _run_watch,
    "launch": _run_launch,
    "doctor": _run_doctor,
}
