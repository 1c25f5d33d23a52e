"""Train on several ranks that share optimiser state and gradients, by DeepSpeed's ZeRO, stages 0 to 2."""

import json
import logging
import os
from typing import Any

import torch
from torch import Tensor, nn

from detaux.config.location import expand_path
from detaux.config.schema import EngineConfig
from detaux.errors import UserError
from detaux.runtime.batch_norm import share_batch_statistics
from detaux.runtime.engines.single import Compute, EngineState, Objective, copy_moments, list_moments

OURS = {  # DeepSpeed's key -> the key of Detaux's config that replaces it
    "train_batch_size": "disentangle.main.batch_size",
    "train_micro_batch_size_per_gpu": "disentangle.main.batch_size",
    "gradient_accumulation_steps": "disentangle.micro_batches",
    "gradient_clipping": "disentangle.clip",
    "optimizer": "disentangle.optimizer",
    "scheduler": "disentangle.main.decay",
    "fp16": "disentangle.precision",
    "amp": "disentangle.precision",
    "torch_autocast": "disentangle.precision",
}
STAGES = (0, 1, 2)
DEFAULT_KNOBS: dict[str, Any] = {"zero_optimization": {"stage": 1}}


def read_knobs(path: str | None) -> dict[str, Any]:
    """Read DeepSpeed's own settings from the JSON file `engine.deepspeed`; the default is ZeRO stage 1.

    Raises UserError for a file that cannot be read, a ZeRO stage above 2, and keys that belong in Detaux's config.
    """
    if path is None:
        return DEFAULT_KNOBS
    file = expand_path(path, "engine.deepspeed")
    if not file.is_file():
        raise UserError(f"engine.deepspeed={path} does not exist; give a JSON file such as launch/deepspeed.json.")
    try:
        knobs = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"engine.deepspeed={path} is not valid JSON: {error}.") from None
    if not isinstance(knobs, dict):
        raise UserError(f"engine.deepspeed={path} holds a {type(knobs).__name__}; an object of settings is expected.")
    for name in knobs:
        if name in OURS:
            raise UserError(f"engine.deepspeed={path} sets {name}; set {OURS[name]} in the config instead.")
    zero = knobs.get("zero_optimization", {})
    stage = zero.get("stage", 0) if isinstance(zero, dict) else zero
    if not isinstance(zero, dict) or stage not in STAGES:
        raise UserError(f"engine.deepspeed={path} asks for ZeRO stage {stage}; allowed are 0, 1 and 2.")
    return knobs


class DeepSpeedEngine:
    """Train by ZeRO: a rank updates only its part of the weights (stage 1) and keeps only its gradients (stage 2)."""

    def __init__(self, config: EngineConfig, device: torch.device, *, differentiates_twice: bool = False) -> None:
        self.differentiates_twice = differentiates_twice
        self.knobs, self.device, self.path = read_knobs(config.deepspeed), device, config.deepspeed

    def wrap(
        self, model: nn.Module, compute: Compute, optimizer: torch.optim.Optimizer, *, clip: float, micro_batches: int
    ) -> Compute:
        deepspeed = _import_deepspeed(self.device)
        share_batch_statistics(model, self.device, differentiates_twice=self.differentiates_twice)
        model.to(memory_format=torch.contiguous_format)  # DeepSpeed cannot broadcast weights of another layout
        self.model, self.optimizer = model, optimizer
        self.micro_batches, self.calls = micro_batches, 0
        # without ZeRO and in float32 DeepSpeed clips but does not return the norm, so `step` clips
        self.clip = 0.0 if self._stage else clip or float("inf")
        settings = {
            "train_micro_batch_size_per_gpu": 1,  # only DeepSpeed's throughput timer reads it
            "gradient_accumulation_steps": micro_batches,
            "gradient_clipping": clip if self._stage else 0.0,
            "zero_allow_untested_optimizer": True,
            "steps_per_print": 10**9,
        }
        # DeepSpeed reads it even in a process without a launcher
        os.environ.setdefault("LOCAL_RANK", "0")
        try:
            self.engine, *_ = deepspeed.initialize(
                model=Objective(model, compute), optimizer=optimizer, config={**self.knobs, **settings}
            )
        except Exception as error:
            if self.path is None:
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
            raise UserError(f"engine.deepspeed={self.path}: DeepSpeed refuses these settings: {reason}.") from None
        return self.engine

    def backward(self, loss: Tensor) -> None:
        self.engine.backward(loss)
        self.calls += 1
        if self.calls % self.micro_batches:
            self.engine.step()  # counts the micro-batch and leaves the weights unchanged

    def step(self) -> Tensor:
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.clip) if self.clip else None
        self.engine.step()
        return torch.as_tensor(self.engine.get_global_grad_norm()) if norm is None else norm.detach()

    def state(self) -> EngineState:
        if self._stage == 0:
            return EngineState(self.model.state_dict(), list_moments(self.model, self.optimizer))
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        flat = [self.optimizer.state[part] for part in self._parts if part in self.optimizer.state]
        moments = [key for key in (flat[0] if flat else {}) if key != "step"]
        model, optimizer = dict(self.model.state_dict()), {}
        for name, parameter in self._trained.items():
            model[name] = safe_get_full_fp32_param(parameter)
            if flat:
                whole = {key: safe_get_full_optimizer_state(parameter, key) for key in moments}
                optimizer[name] = {"step": flat[0]["step"].clone(), **whole}
        return EngineState(model, optimizer)

    def load(self, state: EngineState) -> None:
        self.model.load_state_dict(state.model)
        if self._stage == 0:
            copy_moments(state.optimizer, self.model, self.optimizer)
            return
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        parameters = self._trained
        for name, parameter in parameters.items():
            safe_set_full_fp32_param(parameter, state.model[name].to(self.device, torch.float32))
        if not state.optimizer:
            return
        example = next(iter(state.optimizer.values()))
        for part in self._parts:
            self.optimizer.state[part] = {
                key: example["step"].clone() if key == "step" else torch.zeros_like(part) for key in example
            }
        # ZeRO links a parameter to its optimiser state at the first step, but here the state is there before that
        self.engine.optimizer._lazy_init_hp_params_optimizer_state()
        for name, moments in state.optimizer.items():
            for key, value in moments.items():
                if key != "step":
                    safe_set_full_optimizer_state(parameters[name], value.to(self.device), key)

    @property
    def _stage(self) -> int:
        return self.knobs.get("zero_optimization", {}).get("stage", 0)

    @property
    def _trained(self) -> dict[str, nn.Parameter]:
        """Return the parameters by name, without the frozen ones, which ZeRO leaves out."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @property
    def _parts(self) -> list[Tensor]:
        """Return this rank's flat share of the weights, one tensor for each parameter group."""
        return self.engine.optimizer.single_partition_of_fp32_groups


def _import_deepspeed(device: torch.device) -> Any:
    """Import DeepSpeed and set it up for the device. Raises UserError if the package is not installed."""
    if device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        import deepspeed
    except ModuleNotFoundError as error:
        raise UserError(
            f"engine.name=deepspeed needs the Python package {error.name}; run `pip install 'detaux[deepspeed]'`."
        ) from None
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # DeepSpeed would compile this operation by g++ for a minute, though gloo already shares memory between ranks
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
