"""The engine of one process, and what every engine does: wrap, backward, step, and state with its reverse, load."""

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
    """What a step changes, in a form that no engine and no number of ranks shows in: the model's state_dict and, by the
    name of the parameter, the optimiser's tensors for it."""

    model: ModelState
    optimizer: OptimizerState


class Engine(Protocol):
    """Turns losses into steps, in step with the other ranks.

    A step is `micro_batches` times compute and backward, then step. The loss of a step is the mean over its micro-batches
    and over all ranks.
    """

    def wrap(
        self, model: nn.Module, compute: Compute, optimizer: torch.optim.Optimizer, *, clip: float, micro_batches: int
    ) -> Compute:
        """Take over a model, the function compute(model, ...) of its loss and the parts of it, and its optimiser; returns
        the function to call in its place, compute(...), which detaches the parts. Gradients are scaled to the norm `clip` at
        most; 0 clips nothing."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one micro-batch."""

    def step(self) -> Tensor:
        """Update the weights; returns the norm of the gradient before it was clipped."""

    def state(self) -> EngineState:
        """The present state, on every rank; all ranks call it together."""

    def load(self, state: EngineState) -> None:
        """Go on from a state that any engine gave, on any number of ranks."""


class Objective(nn.Module):
    """A model and the function of its loss as one module, so that an engine sees every use of the weights in one call."""

    def __init__(self, model: nn.Module, compute: Compute) -> None:
        super().__init__()
        self.model, self.compute = model, compute

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Parts]:
        loss, parts = self.compute(self.model, *args, **kwargs)
        # here and not in compute, where torch.compile would merge a loss with a part that has its value, gradient and all
        return loss, {name: part.detach() for name, part in parts.items()}


class SingleEngine:
    """One process, plain PyTorch."""

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
    """An optimiser's tensors by the name of the parameter; {} before the first step."""
    named = model.named_parameters()
    return {name: dict(optimizer.state[parameter]) for name, parameter in named if parameter in optimizer.state}


def copy_moments(moments: OptimizerState, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The reverse of list_moments."""
    for name, parameter in model.named_parameters():
        if name in moments:
            # a fused optimiser goes through the memory of both side by side, so they must be laid out alike
            optimizer.state[parameter] = {
                key: value.to(parameter.device, copy=True)
                if key == "step"
                else torch.empty_like(parameter).copy_(value)
                for key, value in moments[name].items()
            }
