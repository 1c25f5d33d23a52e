"""The ranks of a run: who this process is, and reductions over all of them that carry a gradient.

torchrun, the DeepSpeed launcher, Ray Train and launch/slurm.sbatch set RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and
MASTER_PORT; nothing else is read. Without them the process is the only rank, and no function here touches a network.

A loss that is a mean over the samples of its rank needs no reduction: engines average the gradients of all ranks. A
statistic that enters a loss before its mean is taken does, both ways: the objective of N ranks is the mean of their losses,
so the gradient of a statistic is the mean, or for gathered rows the sum, of what the ranks send back.
"""

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from detaux.errors import DetauxError, UnforeseenError, UserError, rebuild_error

STORE_TIMEOUT = timedelta(seconds=20)
POLL_SECONDS = 0.2
# Threads of gloo live on where DDP holds its group, and let go of a tensor a moment after its result is there; if Python is
# ending by then, the process aborts (pytorch/pytorch issue 190489).
SETTLE_SECONDS = 0.3
STALL = timedelta(minutes=10)  # a collective that takes longer has lost a rank that the monitor did not see go


T = TypeVar("T")

_calls = itertools.count()  # of run_first and run_each, which every rank makes in the same order


class _Thread(threading.local):
    """What is true of one thread. torch.compile follows it, as torch 2.11 does no ContextVar."""

    def __init__(self) -> None:
        self.is_alone = False  # in an alone() block; not a value of the class, whose change torch.compile would not see


_thread = _Thread()


def rank() -> int:
    return distributed.get_rank() if is_joined() else 0


def world_size() -> int:
    return distributed.get_world_size() if is_joined() else 1


def is_joined() -> bool:
    """Whether this process works together with others at the moment."""
    return not _thread.is_alone and distributed.is_initialized()


def is_first() -> bool:
    """Whether this rank is the one that prints and writes what all ranks share."""
    return rank() == 0


@contextmanager
def alone() -> Iterator[None]:
    """Within the block this thread's process is the only rank, and so the first: it talks to no other."""
    before, _thread.is_alone = _thread.is_alone, True
    try:
        yield
    finally:
        _thread.is_alone = before


def read_place() -> tuple[int, int, int]:
    """(rank, local rank, world size) that the launcher gave this process, (0, 0, 1) without a launcher.

    Raises UserError where the variables are incomplete or make no sense together.
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
    """Join the other ranks while the block runs: NCCL between GPUs, gloo between CPUs.

    A lone process joins nobody, unless its engine `needs_group`; one whose launcher has joined them already stays.
    """
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


def _mean(values: Tensor) -> Tensor:
    total = values.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total / world_size()


class _GlobalMean(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return _mean(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _mean(gradient)


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        context.rows = len(values)
        parts = [torch.empty_like(values, memory_format=torch.contiguous_format) for _ in range(world_size())]
        distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total.narrow(0, rank() * context.rows, context.rows)


def global_mean(values: Tensor) -> Tensor:
    """Mean of the ranks' `values`, of one shape on all of them, with its gradient."""
    return values if world_size() == 1 else _GlobalMean.apply(values)


def gather_rows(values: Tensor) -> Tensor:
    """The ranks' `values` [n, ...] one below the other in the order of ranks, [world size x n, ...], with its gradient."""
    return values if world_size() == 1 else _GatherRows.apply(values)


def take_part(size: int) -> slice:
    """This rank's part of `size` rows; parts lie one after the other and differ by one at most."""
    begin, end = (size * place // world_size() for place in (rank(), rank() + 1))
    return slice(begin, end)


def collect_parts(part: Tensor, size: int) -> Tensor:
    """Of `size` rows, all on the first rank, one part below the other; on every other rank its own part by take_part."""
    if world_size() == 1:
        return part
    longest = -(-size // world_size())
    # gloo gathers equal sizes alone
    padded = torch.cat([part, part.new_zeros(longest - len(part), *part.shape[1:])])
    parts = [torch.empty_like(padded) for _ in range(world_size())] if is_first() else None
    distributed.gather(padded, parts)
    if parts is None:
        return part
    sizes = (size * (place + 1) // world_size() - size * place // world_size() for place in range(world_size()))
    return torch.cat([rows[:count] for rows, count in zip(parts, sizes, strict=True)])


def tell_once(error: DetauxError) -> DetauxError:
    """An error that every rank raises, marked so that the first alone prints it."""
    error.is_shared, error.is_told = True, not is_first()
    return error


def share_object(value: Any) -> Any:
    """What the first rank holds, on every rank."""
    if world_size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def run_first(function: Callable[[], T]) -> T:
    """What `function` returns or raises on the first rank, on every rank; the others wait for it, however long it takes.

    Within it the first rank is alone. The value must be one that JSON has.
    """
    if world_size() == 1:
        return function()
    store, key = connect_store(), f"detaux/first/{next(_calls)}"
    if is_first():
        try:
            with alone():
                value = function()
        except BaseException as error:
            store.set(key, json.dumps({"error": _describe(error, "the first rank")}))
            _wait_for_readers(store, key)
            raise
        store.set(key, json.dumps({"value": value}))
        return value
    while not store.check([key]):
        time.sleep(POLL_SECONDS)
    found = json.loads(store.get(key))
    store.add(f"{key}/read", 1)
    if "error" in found:
        raise rebuild_error(*found["error"])
    return found["value"]


def run_each(function: Callable[[], T]) -> T:
    """What `function` returns on this rank, once all have called it, however long one takes.

    Where some fail, every rank raises what the lowest of them did, and that one alone prints it.
    """
    if world_size() == 1:
        return function()
    store, key = connect_store(), f"detaux/each/{next(_calls)}"
    own: BaseException | None = None
    try:
        value = function()
    except BaseException as error:
        own = error
    keys = [f"{key}/{number}" for number in range(world_size())]
    store.set(keys[rank()], json.dumps(own and _describe(own, f"rank {rank()}")))
    while not store.check(keys):
        time.sleep(POLL_SECONDS)
    found = [json.loads(store.get(name)) for name in keys]
    failed = next((number for number, entry in enumerate(found) if entry), None)
    if failed is None:
        return value
    if is_first():
        _wait_for_readers(store, key)
    else:
        store.add(f"{key}/read", 1)
    raise own if own is not None and failed == rank() else rebuild_error(*found[failed])


def _describe(error: BaseException, place: str) -> tuple[str, str, int]:
    """What rebuild_error takes; of an error that nobody foresaw, only where it happened."""
    told = error if isinstance(error, DetauxError) else UnforeseenError(f"{place} failed.")
    return type(told).__name__, str(told), told.exit_code


def _wait_for_readers(store: distributed.Store, key: str) -> None:
    """Until the other ranks have read why the first ends: the store may end with it."""
    deadline = time.monotonic() + STORE_TIMEOUT.total_seconds()
    while store.add(f"{key}/read", 0) < world_size() - 1 and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 10)


def connect_store() -> distributed.PrefixStore:
    """A new connection to the key-value store of the launcher, or of the first rank, that all ranks share.

    torchrun keeps one store over its restarts, so that each has keys of its own.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = distributed.TCPStore(host, port, is_master=False, timeout=STORE_TIMEOUT, wait_for_workers=False)
    return distributed.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def gather_objects(value: Any) -> list[Any]:
    """What every rank holds, in the order of ranks, on every rank."""
    if world_size() == 1:
        return [value]
    box: list[Any] = [None] * world_size()
    distributed.all_gather_object(box, value)
    return box


class Vote:
    """Ranks agree on the largest number any of them holds, a call late, so that nobody waits for the answer."""

    def __init__(self) -> None:
        self._pending: tuple[Any, Tensor] | None = None

    def cast(self, number: int) -> int:
        """Hand in this rank's number; returns the largest of all ranks at the call before, 0 at the first. A lone process
        gets its own at once."""
        if world_size() == 1:
            return number
        previous = 0
        if self._pending is not None:
            work, box = self._pending
            work.wait()
            previous = int(box)
        box = torch.tensor(number)  # on the CPU, where reading it stalls no GPU
        work = distributed.all_reduce(box, distributed.ReduceOp.MAX, async_op=True)
        self._pending = (work, box)
        return previous


def share_batch_statistics(model: nn.Module, device: torch.device) -> None:
    """Make every batch normalisation of a model normalise over the images of all ranks.

    Raises UserError on CPUs, where torch has no such layer.
    """
    layers = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    if world_size() == 1 or not any(isinstance(module, layers) for module in model.modules()):
        return
    if device.type != "cuda":
        raise UserError(
            f"the network normalises over its batch, which torch cannot do over {world_size()} ranks on CPUs; use one rank, "
            "GPUs, or an architecture without batch normalisation."
        )
    nn.SyncBatchNorm.convert_sync_batchnorm(model)
