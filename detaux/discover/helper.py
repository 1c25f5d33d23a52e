"""Run library clusterings in a separate process, which can be ended although compiled loops heed no clock or signal.

The process starts with the first clustering that needs it. It serves all others of this thread and ends with the
thread.
"""

import atexit
import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detaux.config.schema import DiscoverConfig
from detaux.discover.backends import load_clusterer
from detaux.discover.clusterers.limit import Limit
from detaux.discover.subsample import cluster_some
from detaux.errors import UserError

POLL_SECONDS = 0.2
PIECE = 2**26  # numbers sent at a time
PR_SET_PDEATHSIG = 1  # Linux: sets the signal that a process gets when its parent ends

Answer = tuple[np.ndarray, np.ndarray, str, int]  # labels, probability, backend, growth of the peak memory in bytes


class Helper:
    """Hold the process and the pipe to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        # a fork would inherit OpenMP threads that do not run in it, and multiprocessing's spawn would run the caller's
        # own script again.
        command = [sys.executable, "-m", __name__, str(theirs.fileno()), str(os.getpid())]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with theirs:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=environment
            )
        self.pipe = Connection(ours.detach())
        atexit.register(self.end)
        self.is_ready = False  # the process imports what it needs before it answers

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()
        atexit.unregister(self.end)

    def ask(self, points_ND: Tensor, task: Any, limit: Limit) -> Answer:
        """Return the answer to a task on points.

        Raises TimeoutError if the limit passes, and EOFError if the process ends.
        """
        if not self.is_ready:
            self.is_ready = self.pipe.recv()
        limit.start()
        flat = points_ND.contiguous().numpy().reshape(-1)
        self.pipe.send((task, tuple(points_ND.shape), torch.get_num_threads()))
        for begin in range(0, len(flat), PIECE):
            self.pipe.send_bytes(flat[begin : begin + PIECE].data)
        while not self.pipe.poll(POLL_SECONDS):
            limit.check()
        answer: Answer | Exception = self.pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


_kept = threading.local()  # a helper for each thread, because it ends with the thread that started it


def cluster_in_helper(
    points_ND: Tensor, count: int, clusterer: str, config: DiscoverConfig, seed: int, limit: Limit
) -> Answer:
    """Run cluster_some in the helper process, with a clusterer of backend cpu.

    Raises TimeoutError if the limit passes, and UserError if something else ends the process. Any error ends the
    process.
    """
    helper = _kept.helper = getattr(_kept, "helper", None) or Helper()
    try:
        return helper.ask(points_ND, (count, clusterer, config, seed), limit)
    except BaseException as error:
        if isinstance(error, EOFError | ConnectionError):
            code = helper.process.wait()
            fault = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            error = UserError(
                f"the process that clusters {len(points_ND)} points by {clusterer} was ended ({fault}), probably for "
                "lack of memory; lower discover.max_memory."
            )
        helper.end()
        _kept.helper = None
        raise error from None


def _serve(pipe: Connection, parent: int) -> None:
    """Answer tasks until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    pipe.send(True)
    while True:
        try:
            task, shape, threads = pipe.recv()
            flat = np.empty(int(np.prod(shape)), np.float32)
            for begin in range(0, len(flat), PIECE):
                pipe.recv_bytes_into(flat[begin : begin + PIECE])
        except EOFError:
            return
        torch.set_num_threads(threads)
        try:
            answer: Answer | Exception = _answer(torch.from_numpy(flat.reshape(shape)), *task)
        except Exception as error:
            answer = error
        pipe.send(answer)


def _answer(points_ND: Tensor, count: int, clusterer: str, config: DiscoverConfig, seed: int) -> Answer:
    before = _read_peak()
    cluster = partial(load_clusterer(clusterer, "cpu"), config=config, seed=seed)
    found = cluster_some(points_ND, count, cluster, seed)
    return np.asarray(found.labels), np.asarray(found.probability), found.backend, _read_peak() - before


def _read_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])), int(sys.argv[2]))
