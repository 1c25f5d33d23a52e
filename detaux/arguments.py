"""Declare the commands and their arguments; a mistake is one sentence and exit code 2."""

import argparse
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

import detaux
from detaux.config.load import format_help
from detaux.errors import UserError
from detaux.launch import TARGETS
from detaux.stages import RUN, STAGES, SWEEP, Command

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
LAUNCH_HELP = """\
Fill in the file of launch/ that starts `detaux disentangle CONFIG.yaml key=value ...` with a rank on each GPU. With
--dry-run the file is printed, so that you can edit it and hand it to your scheduler. Without --dry-run, only torchrun
with nodes=1 is allowed, and starts at once on this machine.
"""
SAFE_HELP = (
    "refuse a config that would start a command (pipe:) or read the environment (${...}); use it for strangers' configs"
)
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
    "discover.outliers",
    "discover.clusters",
    "discover.bandwidth_quantile",
    "discover.max_seconds",
    "discover.max_memory",
)
OWN_PARSERS = ("shards", "report")  # stages with commands that take other arguments than a config
RAW = argparse.RawDescriptionHelpFormatter


class _Parser(argparse.ArgumentParser):
    """Report a mistake by one sentence and exit code 2, unlike argparse."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`.")

    def print_help(self, file: Any = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse would hide that the reader has gone


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = _Parser(prog="detaux", description=detaux.__doc__, epilog=EXAMPLES, formatter_class=RAW)
    parser.add_argument("--version", action="version", version=f"detaux {detaux.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for command in (RUN, *(stage for name, stage in STAGES.items() if name not in OWN_PARSERS), SWEEP):
        _add_config_command(commands, command)
    _add_shards(commands)
    _add_report(commands)
    _add_cluster(commands)
    _add_watch(commands)
    _add_launch(commands)
    commands.add_parser("doctor", help="show what is installed, and which backends will be used and why")
    return parser


def _list_keys(names: Sequence[str]) -> str:
    return f"keys:\n{format_help(names)}"


def _add_config_command(commands: Any, command: Command) -> None:
    """Add a command that takes a config and key=value overrides."""
    keys, meaning = _list_keys(command.sections), command.meaning
    one = commands.add_parser(command.name, help=meaning, description=meaning, epilog=keys, formatter_class=RAW)
    one.add_argument("config", metavar="CONFIG.yaml")
    one.add_argument("--safe", action="store_true", help=SAFE_HELP)
    one.add_argument("overrides", nargs="*", default=[], metavar="key=value")


def _add_shards(commands: Any) -> None:
    stage = STAGES["shards"]
    shards = commands.add_parser(stage.name, help="build, verify, describe or repack a shard set")
    actions = shards.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=_Parser)
    build = actions.add_parser("build", help=stage.meaning, epilog=_list_keys(stage.sections), formatter_class=RAW)
    build.add_argument("source", metavar="SOURCE", help="a data.source such as digits, or a CONFIG.yaml that names one")
    build.add_argument("--out", required=True, metavar="DIR")
    build.add_argument("--safe", action="store_true", help=SAFE_HELP)
    build.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    for action, meaning, keys in (
        ("verify", "read a shard set again and name what is wrong", ""),
        ("info", "describe a shard set", ""),
        (
            "order",
            "print the sample keys that a rank will see, one a line",
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


def _add_report(commands: Any) -> None:
    stage = STAGES["report"]
    report = commands.add_parser(stage.name, help=stage.meaning, epilog=_list_keys(["report"]), formatter_class=RAW)
    report.add_argument("runs", nargs="+", metavar="RUN", help="run folders; report.KEY=VALUE may follow them")
    report.add_argument(
        "--out", metavar="DIR", help="default: RUN/report, or `report` next to the first of several runs"
    )


def _add_cluster(commands: Any) -> None:
    keys, meaning = _list_keys(CLUSTER_KEYS), "embeddings from a file -> clusters"
    cluster = commands.add_parser("cluster", help=meaning, description=meaning, epilog=keys, formatter_class=RAW)
    cluster.add_argument("embeddings", metavar="EMBEDDINGS", help="a .npy or .safetensors file of numbers [N, D]")
    cluster.add_argument("--out", required=True, metavar="LABELS.parquet")
    cluster.add_argument("--tensor", metavar="NAME", help="the tensor to read if a .safetensors file holds several")
    cluster.add_argument("overrides", nargs="*", default=[], metavar="key=value")


def _add_watch(commands: Any) -> None:
    meaning = "show the newest training of a run live in the terminal until its stage is finished or Ctrl-C"
    watch = commands.add_parser("watch", help=meaning, description=meaning, formatter_class=RAW)
    watch.add_argument("run", metavar="RUN", help="the run.dir of a run that has started")
    shown = watch.add_mutually_exclusive_group()
    shown.add_argument("--once", action="store_true", help="show one frame and end, as if the output were piped")
    shown.add_argument(
        "--workspace", action="store_true", help="make a page of panels at W&B, online, and print its address"
    )


def _add_launch(commands: Any) -> None:
    keys, meaning = _list_keys(STAGES["disentangle"].sections), "fill in a launch file for several GPUs or machines"
    launch = commands.add_parser("launch", help=meaning, description=LAUNCH_HELP, epilog=keys, formatter_class=RAW)
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


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command; key=value may come before or after options. Raises UserError for unknown arguments."""
    parsed, extra = build_parser().parse_known_args(arguments)
    overrides = [text for text in extra if "=" in text and not text.startswith("-")]
    if extra and (overrides != extra or not hasattr(parsed, "overrides")):
        raise UserError(f"unrecognized arguments: {shlex.join(extra)}; see `detaux {parsed.command} --help`.")
    if overrides:
        parsed.overrides = [*parsed.overrides, *overrides]
    return parsed
