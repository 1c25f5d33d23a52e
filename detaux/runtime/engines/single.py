"""Define the interface of every engine (wrap, backward, step, state, load), and the engine of one process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Parts = dict[str, Tensor]
Compute = Callable[..., tuple[Tensor, Parts]]
ModelState = dict[str, Tensor]
OptimizerState = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class EngineState:
    """Hold what a step changes, in a form that does not depend on the engine or the number of ranks.

    `model` is the model's state_dict. `optimizer` maps a parameter's name to the optimiser's tensors for it.
    """

    model: ModelState
    optimizer: OptimizerState


class Engine(Protocol):
    """Turn losses into steps, together with the other ranks.

    A step is compute and backward, `micro_batches` times, then `step`. The loss of a step is the mean over its
    micro-batches and over all ranks.
    """

    def wrap(
        self, model: nn.Module, compute: Compute, optimizer: torch.optim.Optimizer, *, clip: float, micro_batches: int
    ) -> Compute:
        """Take over a model, its optimiser, and the function compute(model, ...), which returns the loss and its parts.

        Return the function to call instead, compute(...), which detaches the parts. Gradients are clipped to the norm
        `clip`; 0 clips nothing.
        """

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one micro-batch."""

    def step(self) -> Tensor:
        """Update the weights, and return the norm of the gradient before clipping."""

    def state(self) -> EngineState:
        """Return the present state on every rank. All ranks call it together."""

    def load(self, state: EngineState) -> None:
        """Continue from a state that any engine returned, on any number of ranks."""


class Objective(nn.Module):
    """Hold a model and its loss function as one module, so that an engine sees every use of the weights in one call."""

    def __init__(self, model: nn.Module, compute: Compute) -> None:
        super().__init__()
        self.model, self.compute = model, compute

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Parts]:
        loss, parts = self.compute(self.model, *args, **kwargs)
        # parts are detached here because torch.compile, inside compute, would merge a loss with a part of equal value
        return loss, {name: part.detach() for name, part in parts.items()}


class SingleEngine:
    """Train in one process, by plain PyTorch."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    clip: float
    micro_batches: int

    def wrap(
        self, model: nn.Module, compute: Compute, optimizer: torch.optim.Optimizer, *, clip: float, micro_batches: int
    ) -> Compute:
        self.model, self.optimizer = model, optimizer
        self.clip, self.micro_batches = clip, micro_batches
        return Objective(model, compute)

    def backward(self, loss: Tensor) -> None:
        (loss / self.micro_batches).backward()

    def step(self) -> Tensor:
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm.detach()

    def state(self) -> EngineState:
        return EngineState(self.model.state_dict(), list_moments(self.model, self.optimizer))

    def load(self, state: EngineState) -> None:
        self.model.load_state_dict(state.model)
        copy_moments(state.optimizer, self.model, self.optimizer)


def list_moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> OptimizerState:
    """Return an optimiser's tensors by the name of the parameter, or {} before the first step."""
    named = model.named_parameters()
    return {name: dict(optimizer.state[parameter]) for name, parameter in named if parameter in optimizer.state}


def copy_moments(moments: OptimizerState, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Copy the tensors that list_moments returned into an optimiser."""
    for name, parameter in model.named_parameters():
        if name in moments:
            # a fused optimiser reads the memory of both in parallel, so both need the same layout
            optimizer.state[parameter] = {
                key: value.to(parameter.device, copy=True)
                if key == "step"
                else torch.empty_like(parameter).copy_(value)
                for key, value in moments[name].items()
            }
