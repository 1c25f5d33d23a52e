"""Find which rank of a run this process is, and join the other ranks.

torchrun, the DeepSpeed launcher, Ray Train and launch/slurm.sbatch set RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and
MASTER_PORT. Without them the process is the only rank, and no function here touches a network.

Only functions import torch here, because commands that print must start fast.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from detaux.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import distributed

STORE_TIMEOUT = timedelta(seconds=20)
# While DDP holds its group, the threads of gloo keep running, and release a tensor a moment after its result is there.
# If Python is ending by then, the process aborts (pytorch/pytorch issue 190489).
SETTLE_SECONDS = 0.3
STALL = timedelta(minutes=10)  # a collective that takes longer has lost a rank, and the heartbeat missed it


class _Thread(threading.local):
    """Hold the state of one thread. torch.compile can follow it, whereas that of torch 2.11 follows no ContextVar."""

    def __init__(self) -> None:
        # is true inside an alone() block; torch.compile would not see the change of a class attribute
        self.is_alone = False


_thread = _Thread()


def rank() -> int:
    return sys.modules["torch"].distributed.get_rank() if is_joined() else 0


def world_size() -> int:
    return sys.modules["torch"].distributed.get_world_size() if is_joined() else 1


def is_joined() -> bool:
    """Return whether this process works together with other ranks at the moment.

    A process that has not imported torch has joined nobody.
    """
    return not _thread.is_alone and "torch" in sys.modules and sys.modules["torch"].distributed.is_initialized()


def is_first() -> bool:
    """Return whether this rank is the one that prints and writes what all ranks share."""
    return rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """Make this process the only rank, and so the first, inside the block and in this thread: it uses no other rank."""
    before, _thread.is_alone = _thread.is_alone, True
    try:
        yield
    finally:
        _thread.is_alone = before


def read_place() -> tuple[int, int, int]:
    """Return (rank, local rank, world size) as the launcher set them, or (0, 0, 1) without a launcher.

    Raises UserError if the variables are incomplete or make no sense together.
    """
    if "WORLD_SIZE" not in os.environ:
        return 0, 0, 1
    needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if name not in os.environ]:
        raise UserError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']} is set and {missing[0]} is not; start ranks by torchrun, the DeepSpeed "
            "launcher or launch/slurm.sbatch, or unset WORLD_SIZE."
        )
    try:
        place = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"])
    except ValueError as error:
        raise UserError(f"RANK, LOCAL_RANK and WORLD_SIZE must be whole numbers: {error}.") from None
    if not 0 <= place[0] < place[2]:
        raise UserError(f"RANK={place[0]} is not one of WORLD_SIZE={place[2]} ranks, 0 to {place[2] - 1}.")
    return place


@contextmanager
def join_ranks(device: torch.device, *, needs_group: bool = False) -> Iterator[None]:
    """Join the other ranks while the block runs: by NCCL between GPUs, by gloo between CPUs.

    A single process forms a group only if its engine `needs_group`. If a launcher has already joined the ranks, its
    group is used.
    """
    from torch import distributed

    size = read_place()[2]
    if distributed.is_initialized() or (size == 1 and not needs_group):
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    place: dict[str, Any] = {} if size > 1 else {"store": distributed.HashStore(), "rank": 0, "world_size": 1}
    distributed.init_process_group(backend, timeout=STALL, **place)
    try:
        yield
    finally:
        distributed.destroy_process_group()
        time.sleep(SETTLE_SECONDS)


def connect_store() -> distributed.PrefixStore:
    """Open a new connection to the key-value store that all ranks share; the launcher or the first rank holds it.

    torchrun keeps one store over its restarts, so the keys of each attempt get their own prefix.
    """
    from torch import distributed

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = distributed.TCPStore(host, port, is_master=False, timeout=STORE_TIMEOUT, wait_for_workers=False)
    return distributed.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
