"""Compute values over all ranks, and pass values between them.

A loss that is a mean over its rank's samples needs no reduction, because engines average the gradients of all ranks. A
statistic inside a loss needs a reduction in the forward and in the backward pass. The objective of N ranks is the mean
of their losses, so the gradient of a statistic is the mean of the ranks' gradients; for gathered rows it is their sum.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from detaux.runtime.ranks import is_first, rank, world_size

T = TypeVar("T")


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
        return _GlobalMean.apply(gradient)  # so that second derivatives are those of all ranks too


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
    """Average `values`, which has the same shape on every rank, over the ranks. The gradient flows through."""
    return values if world_size() == 1 else _GlobalMean.apply(values)


def gather_rows(values: Tensor) -> Tensor:
    """Stack the ranks' `values` [n, ...] in rank order to [world size x n, ...]. The gradient flows through."""
    return values if world_size() == 1 else _GatherRows.apply(values)


def take_part(size: int) -> slice:
    """Return this rank's part of `size` rows. The parts follow each other, and their sizes differ by at most one."""
    begin, end = (size * place // world_size() for place in (rank(), rank() + 1))
    return slice(begin, end)


def collect_parts(part: Tensor, size: int) -> Tensor:
    """Gather all `size` rows on the first rank, in rank order. Other ranks keep their own part, as take_part cut it."""
    if world_size() == 1:
        return part
    longest = -(-size // world_size())
    # gloo gathers only equal sizes
    padded = torch.cat([part, part.new_zeros(longest - len(part), *part.shape[1:])])
    parts = [torch.empty_like(padded) for _ in range(world_size())] if is_first() else None
    distributed.gather(padded, parts)
    if parts is None:
        return part
    sizes = (size * (place + 1) // world_size() - size * place // world_size() for place in range(world_size()))
    return torch.cat([rows[:count] for rows, count in zip(parts, sizes, strict=True)])


def compute_on_first(function: Callable[[], T]) -> T:
    """Call `function` on the first rank only, and return its value on every rank.

    Use it only for functions that are quick and do not fail, because the other ranks wait in a collective meanwhile.
    Use run_first for all others.
    """
    if world_size() == 1:
        return function()
    box: list[Any] = [function() if is_first() else None]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def gather_objects(value: Any) -> list[Any]:
    """Return the values of all ranks, in rank order, on every rank."""
    if world_size() == 1:
        return [value]
    box: list[Any] = [None] * world_size()
    distributed.all_gather_object(box, value)
    return box
