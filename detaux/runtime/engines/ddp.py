"""Train on several ranks that each hold the whole model, by torch's DistributedDataParallel."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from detaux.runtime.batch_norm import share_batch_statistics
from detaux.runtime.engines.single import Compute, Objective, Parts, SingleEngine

SMALL_MIB = 64  # smaller gradients go in one bucket, because a second all-reduce costs more than its overlap saves
DEFAULT_MIB = 25  # torch's own bucket size


class DistributedDataParallelEngine(SingleEngine):
    """Keep a copy of the model on every rank, and average the gradients while backward still runs."""

    def __init__(self, device: torch.device, *, differentiates_twice: bool = False) -> None:
        self.device, self.differentiates_twice = device, differentiates_twice
        self.calls = 0

    def wrap(
        self, model: nn.Module, compute: Compute, optimizer: torch.optim.Optimizer, *, clip: float, micro_batches: int
    ) -> Compute:
        share_batch_statistics(model, self.device, differentiates_twice=self.differentiates_twice)
        super().wrap(model, compute, optimizer, clip=clip, micro_batches=micro_batches)
        mebibytes = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) / 2**20
        self.parallel = DistributedDataParallel(
            Objective(model, compute),
            device_ids=[self.device] if self.device.type == "cuda" else None,
            bucket_cap_mb=int(mebibytes) + 1 if mebibytes <= SMALL_MIB else DEFAULT_MIB,
            gradient_as_bucket_view=True,
            # a graph that skips its reduction in some backward passes is not static
            static_graph=micro_batches == 1,
        )
        return self._compute

    def _compute(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Parts]:
        self.calls += 1
        if self.calls % self.micro_batches:
            with self.parallel.no_sync():
                return self.parallel(*args, **kwargs)
        return self.parallel(*args, **kwargs)
