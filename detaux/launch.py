"""Fill in a file of launch/ with the number of nodes and GPUs and the config.

Each file of launch/ also works unchanged, and users may copy and edit it. PLACES lists the pieces of text that a user
would edit, and what replaces them.
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from detaux.config import Config, load_config
from detaux.config.shipped import find_shipped
from detaux.config.together import check_together
from detaux.errors import UserError

SHELL = {'\nset -- "$@"\n': '\nset -- {words} "$@"\n'}
RAY = {
    "replicas: &nodes 1": "replicas: &nodes {nodes}",
    "nvidia.com/gpu: 1": "nvidia.com/gpu: {gpus}",
    "--workers 1 --gpus configs/quickstart.yaml": "--workers {ranks} --gpus {words}",
}
PLACES = {  # file -> a piece of its text -> what replaces the first such piece
    "slurm.sbatch": {
        "\n#SBATCH --nodes=1": "\n#SBATCH --nodes={nodes}",
        "\n#SBATCH --gpus-per-node=1": "\n#SBATCH --gpus-per-node={gpus}",
        "\n#SBATCH --ntasks-per-node=1": "\n#SBATCH --ntasks-per-node={gpus}",
    }
    | SHELL,
    "torchrun.sh": {"{NNODES:-1}": "{{NNODES:-{nodes}}}", "{RANKS:-gpus}": "{{RANKS:-{gpus}}}"} | SHELL,
    "deepspeed.sh": {"<<'END'\n": "<<'END'\n{hosts}\n"} | SHELL,
    "kuberay_rayjob.yaml": RAY,
    "kuberay_raycluster.yaml": RAY,
    "trainjob.yaml": {
        "numNodes: 1": "numNodes: {nodes}",
        "nvidia.com/gpu: 1": "nvidia.com/gpu: {gpus}",
        '["configs/quickstart.yaml"]': "{list}",
    },
}
TARGETS = {  # name for users -> file
    "slurm": "slurm.sbatch",
    "kuberay": "kuberay_rayjob.yaml",
    "raycluster": "kuberay_raycluster.yaml",
    "trainjob": "trainjob.yaml",
    "torchrun": "torchrun.sh",
    "deepspeed": "deepspeed.sh",
}
EXPANDED = ("kuberay", "trainjob")  # Kubernetes expands their arguments: $(NAME) is a variable, and $$ is one $
TASK = "{task}"  # stands for the number of a job in an array, in launch/slurm.sbatch


@dataclass(frozen=True)
class Launch:
    """Hold what is started, and on how many machines and GPUs."""

    target: str
    config: str
    overrides: tuple[str, ...] = ()
    nodes: int = 1
    gpus: int = 1  # counts the GPUs of each node; each GPU has a rank


def parse_launch(target: str, config: str, overrides: Sequence[str], *, is_safe: bool = False) -> Launch:
    """Parse a launch: take `nodes=N` and `gpus=N` out of the key=value arguments, and check that the config loads.

    With `is_safe`, the config must neither start a command nor read the environment. Raises UserError for an unknown
    target, a number below 1, and whatever `detaux disentangle` would refuse in the config.
    """
    if target not in TARGETS:
        raise UserError(f"unknown target {target!r}; it is one of {' '.join(TARGETS)}.")
    counts = {"nodes": 1, "gpus": 1}
    keys = []
    for text in overrides:
        name, _, value = text.partition("=")
        if name not in counts:
            keys.append(text)
        elif value.isdecimal() and int(value) >= 1:
            counts[name] = int(value)
        else:
            raise UserError(f"{text}: {name} is a whole number of at least 1.")
    if broken := next((text for text in (config, *keys) if not text.isprintable()), None):
        raise UserError(f"{broken!r} has a line break or another character that cannot be printed.")
    launch = Launch(target, config, tuple(keys), **counts)
    check_together(_load(launch, is_safe=is_safe))
    return launch


def _load(launch: Launch, *, is_safe: bool = False) -> Config:
    is_array = launch.target == "slurm"
    overrides = [text.replace(TASK, "0") if is_array else text for text in launch.overrides]
    return load_config(launch.config, overrides, is_safe=is_safe)


def find_template(name: str) -> Path:
    """Find a file of launch/. Raises UserError if it is not installed."""
    path = find_shipped(f"launch/{name}")
    if path is None:
        raise UserError(f"{name} is not installed; copy it from launch/ of the project's repository.")
    return path


def render_launch(launch: Launch, template: str) -> str:
    """Return the text of the target's file with nodes, GPUs and command filled in.

    Raises UserError if the file was edited, so that a piece to replace is missing.
    """
    arguments = [launch.config, *launch.overrides]
    if launch.target in EXPANDED:
        arguments = [re.sub(r"\$(?=[($])", "$$", text) for text in arguments]
    names = ["localhost"] if launch.nodes == 1 else [f"node{index}" for index in range(launch.nodes)]
    values = {
        "nodes": launch.nodes,
        "gpus": launch.gpus,
        "ranks": launch.nodes * launch.gpus,
        "words": shlex.join(arguments),
        "list": json.dumps(arguments, ensure_ascii=False),
        "hosts": "\n".join(f"{name} slots={launch.gpus}" for name in names),
    }
    for piece, filled in PLACES[TARGETS[launch.target]].items():
        before, found, after = template.partition(piece)
        if not found:
            raise UserError(
                f"{TARGETS[launch.target]} of launch/ was edited and lacks {piece.strip()!r}, which `detaux launch` fills in; "
                "start the edited file yourself."
            )
        template = f"{before}{filled.format(**values)}{after}"
    return template


def explain_ranks(launch: Launch) -> str | None:
    """Return a sentence if the job would stop at once because a batch does not divide into its ranks, else None."""
    from detaux.disentangle.batches import check_batches  # imports numpy, which `detaux --help` does not need

    config = _load(launch)
    parts = launch.nodes * launch.gpus * config.disentangle.micro_batches
    try:
        check_batches(config, config.disentangle.warmup.batch_size, parts)  # assumes at least one batch of images
    except UserError as error:
        return f"the job would stop at once: {error}"
    return None


def start_launch(launch: Launch) -> NoReturn:
    """Replace this process by the launcher. Only torchrun with one node needs no other machine and no scheduler.

    Raises UserError for every other launch.
    """
    if (launch.target, launch.nodes) != ("torchrun", 1):
        raise UserError(
            f"detaux launch starts only torchrun with nodes=1; for {launch.target} with nodes={launch.nodes} print the file "
            "with --dry-run and start it yourself."
        )
    text = render_launch(launch, find_template(TARGETS[launch.target]).read_text(encoding="utf-8"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    unset = ("NNODES", "RANKS", "HEAD", "STAGE")  # the command decides these, not the environment
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {"PATH": path}
    os.execvpe("bash", ["bash", "-c", text], environment)
