"""Build the engine that turns a loss into a step on all ranks. All engines share one interface."""

import torch

from detaux.config.schema import EngineConfig
from detaux.errors import UserError
from detaux.runtime.engines.ddp import DistributedDataParallelEngine
from detaux.runtime.engines.single import Compute, Engine, EngineState, Parts, SingleEngine
from detaux.runtime.ranks import world_size

__all__ = ["Compute", "Engine", "EngineState", "Parts", "SingleEngine", "build_engine", "choose_engine"]


def choose_engine(config: EngineConfig) -> str:
    """Return the name in `engine.name`; auto becomes `single` for one rank and `ddp` for several.

    Raises UserError if the config asks for `single` on several ranks.
    """
    ranks = world_size()
    if config.name == "auto":
        return "single" if ranks == 1 else "ddp"
    if config.name == "single" and ranks > 1:
        raise UserError(
            f"engine.name=single, but the launcher started {ranks} ranks; use engine.name=ddp or engine.name=deepspeed."
        )
    return config.name


def build_engine(config: EngineConfig, device: torch.device, *, differentiates_twice: bool = False) -> Engine:
    """Build the engine that the config names; each engine wraps one model.

    Batch normalisation is over the images of all ranks. `differentiates_twice`: a step takes second derivatives.
    """
    name = choose_engine(config)
    if name == "single":
        return SingleEngine()
    if name == "ddp":
        return DistributedDataParallelEngine(device, differentiates_twice=differentiates_twice)
    if name == "deepspeed":
        from detaux.runtime.engines.deepspeed import DeepSpeedEngine

        return DeepSpeedEngine(config, device, differentiates_twice=differentiates_twice)
    raise AssertionError(name)
