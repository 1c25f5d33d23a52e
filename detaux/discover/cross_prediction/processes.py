"""Judge candidates side by side, in processes of their own: the networks of one wait for no other's.

N images, S side in pixels, C channels.
"""

import functools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
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


@contextmanager
def use_processes(processes: int, tasks: int, device: torch.device) -> Iterator[int]:
    """Give the number of processes for a number of tasks; 1 is this process. At the end the others are ended.

    0 `processes` are as many as there are cores, at most MOST. On a GPU, and if no process can be started, it is 1.
    """
    import joblib

    count = min(processes or min(joblib.cpu_count(), MOST), tasks) if device.type == "cpu" else 1
    # joblib starts none in a daemon, in a worker of its own, and on a machine without semaphores
    count = 1 if count <= 1 else joblib.effective_n_jobs(count)
    try:
        yield count
    finally:
        if count > 1:  # they would keep their memory for minutes, or go on after an error
            from joblib.externals.loky import get_reusable_executor

            get_reusable_executor().shutdown(wait=True, kill_workers=True)


def map_tasks(
    function: Callable[..., ResultT], images_NHWC: Tensor, tasks: Iterable[tuple[Any, ...]], count: int
) -> Iterator[ResultT]:
    """Give function(images_NHWC, *task) for each task, in the order of the tasks, from `count` of use_processes.

    Images are uint8 [N, S, S, C], and the workers share one copy of them. On CPUs a task has one thread, so that its
    result does not depend on the number of processes. Raises UserError if a worker ends before its task.
    """
    import joblib

    if count == 1:
        for task in tasks:
            with _limit_threads(images_NHWC.device):
                result = function(images_NHWC, *task)
            yield result
        return
    images, call, parent = images_NHWC.numpy(), joblib.delayed(_call), os.getpid()
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        # copy on write, because torch warns of arrays that it may not write to
        pool = joblib.Parallel(count, return_as="generator", mmap_mode="c", batch_size=1)
        results = pool(call(function, images, task, parent) for task in tasks)
        try:
            yield from results
        except BrokenProcessPool as error:
            raise UserError(
                f"one of {count} processes that judge candidates ended before its work, by a signal or for lack of memory; "
                f"lower {KEY}."
            ) from error


def _call(function: Callable[..., ResultT], images_NHWC: np.ndarray, task: tuple[Any, ...], parent: int) -> ResultT:
    """Call the function in a worker process."""
    _end_with(parent)
    with _limit_threads(torch.device("cpu")):
        return function(torch.from_numpy(images_NHWC), *task)


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
    """Let this worker end soon after its parent. A worker of joblib would wait for tasks forever."""
    if os.getpid() == parent:
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
