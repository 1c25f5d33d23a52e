"""Define an aggregator: a rule that makes one gradient of the gradients of all tasks, computed by TorchJD."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detaux.config.schema import MultitaskConfig
from detaux.runtime.packages import require_package

Combine = Callable[[Tensor], Tensor]  # from a Jacobian [T, P] to a gradient [P]


@dataclass(frozen=True)
class AggregatorRow:
    """Describe a rule.

    `build` makes it from the module torchjd.aggregation, the settings and the number of tasks. `packages` are the
    solvers that it needs besides torchjd. `reads_weight` is false if the lengths of the gradients do not matter to it.
    """

    build: Callable[[Any, MultitaskConfig, int], Combine]
    packages: tuple[str, ...] = ()
    reads_weight: bool = True

    def check_packages(self, rule: str) -> None:
        """Raise UserError if a package is not installed. `rule` is the name of the row."""
        for package in ("torchjd", *self.packages):
            require_package(package, "torchjd", f"multitask.methods: the rule +{rule}")

    def load(self, config: MultitaskConfig, tasks: int) -> Combine:
        """Import TorchJD and make the rule."""
        from torchjd import aggregation

        return self.build(aggregation, config, tasks)


class Aggregator:
    """Make one gradient of the gradients of all tasks, the principal one first.

    `weight` multiplies the losses of the auxiliary tasks before anything else, if the rule reads it.
    """

    def __init__(self, row: AggregatorRow, config: MultitaskConfig, tasks: int, weight: float) -> None:
        self.weights = [1.0, *([weight if row.reads_weight else 1.0] * (tasks - 1))]
        self._combine = row.load(config, tasks) if tasks > 1 else None
        # so far all ranks have drawn the same; dropout draws a number for each image of a rank
        self._random = torch.get_rng_state()

    def __call__(self, jacobian_TP: Tensor) -> Tensor:
        """Return the gradient [P] for a Jacobian [T, P] that is equal on all ranks; it is equal on all ranks too.

        A single task keeps its gradient. A rule whose solver fails because training has diverged returns NaN.
        """
        if self._combine is None:
            return jacobian_TP[0]
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            torch.set_rng_state(self._random)
            warnings.filterwarnings("ignore", message="You are solving a parameterized problem")  # cvxpy, of Nash-MTL
            try:
                gradient_P = self._combine(jacobian_TP)
            except Exception:
                if jacobian_TP.isfinite().all():
                    raise
                gradient_P = torch.full_like(jacobian_TP[0], torch.nan)
            self._random = torch.get_rng_state()
        return gradient_P
