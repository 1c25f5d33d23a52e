"""Compute the gradient of each task, and write one gradient into a network."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from detaux.runtime.collectives import global_mean


def write_gradients(network: nn.Module, losses: list[Tensor], aggregate: Callable[[Tensor], Tensor]) -> None:
    """Write the gradient of one step into a network that has a head for each task, its `heads`.

    A head gets the gradient of its own task. All other parameters get `aggregate` of their Jacobian [T, P], which has
    the gradient of each task as a row. Gradients are means over all ranks, so all ranks write the same.
    """
    heads = [list(head.parameters()) for head in network.heads]  # type: ignore[union-attr]
    shared = list_shared(network)
    width, rows = sum(parameter.numel() for parameter in shared), []
    for task, (loss, head) in enumerate(zip(losses, heads, strict=True)):
        found = torch.autograd.grad(
            loss, [*shared, *head], retain_graph=task < len(losses) - 1, allow_unused=True, materialize_grads=True
        )
        row = global_mean(torch.cat([part.flatten() for part in found]))
        _write(head, row[width:])
        rows.append(row[:width])
    _write(shared, aggregate(torch.stack(rows)))


def list_shared(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a network outside of its `heads`, in their order."""
    apart = {id(parameter) for parameter in network.heads.parameters()}  # type: ignore[union-attr]
    return [parameter for parameter in network.parameters() if id(parameter) not in apart]


def _write(parameters: list[nn.Parameter], gradient: Tensor) -> None:
    """Cut a flat gradient into the gradients of parameters, each with the memory layout of its parameter."""
    pieces = gradient.split([parameter.numel() for parameter in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(piece.view_as(parameter))
