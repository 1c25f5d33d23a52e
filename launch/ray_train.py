"""Run one stage on a Ray cluster, or on this machine, with one Ray Train worker per rank.

    python launch/ray_train.py --workers 8 [--gpus] configs/paper/shapes3d.yaml [key=value ...]

Needs `pip install 'detaux[sweep]'`. RAY_ADDRESS names the cluster; without it Ray starts here. The workers run the same
command as the ranks of every other launcher, in the folder in which you start this script. All machines must see that
folder and run.dir. --stage names another command than disentangle. The same line continues from the last checkpoint.
"""

import argparse
import os
import sys
from typing import Any

from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer


def run_stage(settings: dict[str, Any]) -> None:
    """Run the command in one worker. Ray has already set the variables of a launcher and joined the ranks."""
    from detaux.cli import run_command

    os.chdir(settings["folder"])
    if exit_code := run_command(settings["command"]):
        raise SystemExit(exit_code)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, required=True, help="ranks, all machines together")
    parser.add_argument("--gpus", action="store_true", help="a GPU for each rank")
    parser.add_argument("--stage", default="disentangle")
    parser.add_argument("config", metavar="CONFIG.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    trainer = TorchTrainer(
        run_stage,
        train_loop_config={
            "folder": os.getcwd(),
            "command": [arguments.stage, arguments.config, *arguments.overrides],
        },
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if arguments.gpus else "gloo"),
        scaling_config=ScalingConfig(num_workers=arguments.workers, use_gpu=arguments.gpus),
        run_config=RunConfig(name="detaux", storage_path=os.path.abspath(os.environ.get("RAY_STORAGE", "runs/ray"))),
    )
    result = trainer.fit()
    return 0 if result.error is None else 1


if __name__ == "__main__":
    sys.exit(main())
