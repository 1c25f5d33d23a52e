"""Judge several candidates at once, each in a process of its own: its networks wait for no other candidate's."""

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from detaux.errors import UserError

MOST = 8  # processes, unless the config asks for more; each holds torch, about 300 MB
POLL_SECONDS = 0.5  # between two looks at the parent
KEY = "discover.cross_prediction.processes"

ResultT = TypeVar("ResultT")


def map_tasks(
    function: Callable[..., ResultT], images_NHWC: Tensor, tasks: Sequence[tuple[Any, ...]], processes: int
) -> Iterator[ResultT]:
    """Give function(images_NHWC, *task) for each task, in the order of the tasks, from up to `processes` processes.

    0 processes are as many as there are cores, at most MOST. All share one copy of the images. With one process or one
    task, and for images on a GPU, this process does all. On CPUs a task has one thread, so that its result does not
    depend on the number of processes. Raises UserError if a process is ended from outside.
    """
    import joblib

    count = min(processes or min(joblib.cpu_count(), MOST), len(tasks))
    if count <= 1 or images_NHWC.device.type != "cpu":
        for task in tasks:
            with _limit_threads(images_NHWC.device):
                result = function(images_NHWC, *task)
            yield result
        return
    images, call = images_NHWC.numpy(), joblib.delayed(_call)
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        # copy on write, because torch warns of arrays that it may not write to
        pool = joblib.Parallel(count, return_as="generator", mmap_mode="c", batch_size=1, pre_dispatch="all")
        results = pool(call(function, images, task, os.getpid()) for task in tasks)
        try:
            yield from results
        except BrokenProcessPool:
            raise UserError(
                f"a process that judges candidates was ended, probably for lack of memory; lower {KEY} ({count} ran)."
            ) from None


def _call(function: Callable[..., ResultT], images: np.ndarray, task: tuple[Any, ...], parent: int) -> ResultT:
    """Call the function in a worker process."""
    _end_with(parent)
    with _limit_threads(torch.device("cpu")):
        return function(torch.from_numpy(images), *task)


@contextmanager
def _limit_threads(device: torch.device) -> Iterator[None]:
    """Let torch use one thread, if it computes on a CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if device.type == "cpu" else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def _end_with(parent: int) -> None:
    """Let this process end soon after its parent. A worker of joblib would wait for tasks forever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
