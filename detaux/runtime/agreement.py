"""Let the ranks continue, fail or stop together after one of them, or each of them, has done something.

run_first and run_each wait through the launcher's key-value store, however long it takes. A collective would give up
after STALL.
"""

import itertools
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from detaux.errors import DetauxError, UnforeseenError, rebuild_error
from detaux.runtime.ranks import STORE_TIMEOUT, alone, connect_store, is_first, rank, world_size

POLL_SECONDS = 0.2

T = TypeVar("T")

_calls = itertools.count()  # numbers the calls of run_first and run_each, which every rank makes in the same order


def tell_once(error: DetauxError) -> DetauxError:
    """Mark an error that every rank raises, so that only the first prints it."""
    error.is_shared, error.is_told = True, not is_first()
    return error


def run_first(function: Callable[[], T]) -> T:
    """Run `function` on the first rank; every rank returns or raises what it did, however long the others have to wait.

    Inside it the first rank is the only rank (see `alone`). The value must be one that JSON can hold.
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


def wait_for_first() -> None:
    """Wait until the first rank has reached this call too, however long it takes; the first waits for nobody."""
    run_first(lambda: None)


def run_each(function: Callable[[], T]) -> T:
    """Run `function` on every rank, wait until all are done, and return what it returned on this rank.

    If some fail, every rank raises the error of the lowest rank that failed, and only that rank prints it.
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
    """Return the arguments of rebuild_error; an unforeseen error is described only by the rank that it happened on."""
    told = error if isinstance(error, DetauxError) else UnforeseenError(f"{place} failed.")
    return type(told).__name__, str(told), told.exit_code


def _wait_for_readers(store: distributed.Store, key: str) -> None:
    """Wait until the other ranks have read why the first rank ends, because the store may end with it."""
    deadline = time.monotonic() + STORE_TIMEOUT.total_seconds()
    while store.add(f"{key}/read", 0) < world_size() - 1 and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS / 10)


class Vote:
    """Agree on the largest number that any rank holds, one call late, so that no rank waits for the answer."""

    def __init__(self) -> None:
        self._pending: tuple[Any, Tensor] | None = None

    def cast(self, number: int) -> int:
        """Hand in this rank's number; return the largest number of the previous call, or 0 at the first call.

        With one rank, return `number` at once.
        """
        if world_size() == 1:
            return number
        previous = 0
        if self._pending is not None:
            work, box = self._pending
            work.wait()
            previous = int(box)
        box = torch.tensor(number)  # stays on the CPU, so that reading it stalls no GPU
        work = distributed.all_reduce(box, distributed.ReduceOp.MAX, async_op=True)
        self._pending = (work, box)
        return previous
