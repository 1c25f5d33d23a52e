"""Make the next batch while the present one is used."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor


class HasTensors(Protocol):
    """Describe a value that lists its tensors on the device."""

    @property
    def tensors(self) -> tuple[Tensor, ...]: ...


T = TypeVar("T", bound=HasTensors)


class Prefetcher(Generic[T]):
    """Make numbered values ahead of time, in a separate thread and, on a GPU, on a separate stream.

    `make(number)` must not depend on anything that changes while it may run. It never runs twice at the same time. An
    error that it raises is raised by `take`.
    """

    def __init__(self, make: Callable[[int], T], device: torch.device) -> None:
        self._make, self._device = make, device
        self._thread = ThreadPoolExecutor(1, "detaux-prefetch")
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._pending: tuple[int, Future[T]] | None = None

    def take(self, number: int, following: int | None) -> T:
        """Return value `number`, and start to make value `following` unless it is None."""
        value = self._finish(number)
        if following is not None:
            self._pending = (following, self._thread.submit(self._run, following))
        return value

    def _finish(self, number: int) -> T:
        pending, self._pending = self._pending, None
        value = pending[1].result() if pending else None
        if pending is None or pending[0] != number or value is None:
            value = self._run(number)
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            for tensor in value.tensors:
                tensor.record_stream(current)
        return value

    def _run(self, number: int) -> T:
        if self._stream is None:
            return self._make(number)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            return self._make(number)
