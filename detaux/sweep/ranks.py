"""Run a trial on several ranks: each rank is a Ray Train worker, and Tune's process forwards the first rank's reports.

Tune's process only waits and computes nothing. The workers have a placement group of their own. Ray frees it only when
a trial reaches its end. If ASHA stopped the trial or its machine was lost, the process of the sweep frees the group.
"""

import threading
from pathlib import Path
from typing import Any

from detaux.runtime.files import atomic_path
from detaux.runtime.ranks import STALL, is_first
from detaux.sweep.objective import Worth
from detaux.sweep.trial import Report, Sweep, run_trial

GROUP_NAME = ".group"  # in a trial's folder: id of the placement group of its ranks, in hexadecimal
# Tune's process must ask for a resource, and the CPUs are for the ranks. One byte of memory is free on every machine.
WAITING = {"memory": 1.0}


def run_on_ranks(values: dict[str, Any], sweep: Sweep, name: str, report: Report) -> None:
    """Run a trial on `sweep.ranks` workers. After each report, the first rank waits for the answer of the scheduler.

    Raises ray.train.TrainingFailedError if a rank fails or is lost.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.util.queue import Queue

    settings, folder = sweep.config.sweep, sweep.root / "trials" / name
    reports, answers = (Queue(actor_options={"num_cpus": 0}) for _ in range(2))

    def pass_on() -> None:
        while True:
            report(*reports.get())
            answers.put(None)

    def tell(step: int, worth: Worth) -> None:
        reports.put((step, worth))
        answers.get()

    def train() -> None:
        if is_first():
            _note_group(folder)
        run_trial(values, sweep, name, tell)

    threading.Thread(target=pass_on, daemon=True).start()
    TorchTrainer(
        train,
        torch_config=TorchConfig(
            "cpu:gloo,cuda:nccl" if settings.gpus else "gloo", timeout_s=int(STALL.total_seconds())
        ),
        scaling_config=ScalingConfig(
            num_workers=settings.ranks,
            use_gpu=settings.gpus > 0,
            resources_per_worker={"CPU": settings.cpus, "GPU": settings.gpus},
        ),
        run_config=RunConfig(name="ranks", storage_path=str(folder)),
    ).fit()


def _note_group(folder: Path) -> None:
    from ray.util import get_current_placement_group

    group = get_current_placement_group()
    assert group is not None
    with atomic_path(folder / GROUP_NAME) as partial:
        partial.write_text(group.id.hex(), encoding="utf-8")


def free_ranks(folder: Path) -> None:
    """Free the CPUs and GPUs of a trial's ranks, and end the ranks that still run. `folder` is the trial's folder."""
    path = folder / GROUP_NAME
    if path.is_file():
        import ray
        from ray.util.placement_group import PlacementGroup

        ray.util.remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(path.read_text(encoding="utf-8"))))
        path.unlink()
