"""Train one trial by any method, and keep its best epoch or its last."""

import copy
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from detaux.config.schema import EngineConfig, MultitaskConfig
from detaux.errors import NonFiniteLossError, UserError
from detaux.multitask.batches import Stream, TrainingData, iterate_stream
from detaux.multitask.evaluate import evaluate
from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import Method, Player, TaskSpec
from detaux.multitask.trial import Trial
from detaux.runtime.agreement import tell_once
from detaux.runtime.collectives import gather_objects
from detaux.runtime.lr import compute_decay


def train_trial(
    trial: Trial,
    config: MultitaskConfig,
    data: TrainingData,
    validation: tuple[Tensor, Tensor],
    check_stop: Callable[[], None] = lambda: None,
    engine_config: EngineConfig | None = None,
) -> tuple[nn.Module, dict[str, Any], list[dict[str, Any]]]:
    """Train one trial. Return the network of the kept epoch, that epoch's validation row, and the rows of all epochs.

    The validation row also has what the trial cost: parameters, steps and seconds. The best epoch has the highest
    validation accuracy, and ties go to the lower loss; `multitask.keep` may keep the last one instead. All ranks call it
    together and share every batch. `check_stop` is called after every epoch and may raise. Raises NonFiniteLossError if
    training diverges.
    """
    started = time.perf_counter()
    device = data.images.device
    method, planned, epochs, steps = _plan_trial(trial, config, data)
    players = _start_players(method, epochs * steps, engine_config or EngineConfig(), device)
    streams = [
        iterate_stream(data, stream, config.batch_size, trial.seed + number) for number, stream in enumerate(planned)
    ]
    network, kept, kept_state, curve = method.network, dict[str, Any](), dict[str, Tensor](), []
    method.train()
    for epoch in range(epochs):
        loss = method.train_epoch(players, streams, steps)
        check_stop()
        row = {"epoch": epoch + 1, **evaluate(network, *validation, data.noise), **method.describe_epoch()}
        if not (all(gather_objects(bool(torch.isfinite(loss)))) and np.isfinite(list(row.values())).all()):
            raise tell_once(NonFiniteLossError((epoch + 1) * steps, [trial.name], method.unstable_keys))
        curve.append(row)
        is_better = not kept or (row["accuracy"], -row["loss"]) > (kept["accuracy"], -kept["loss"])
        if is_better or config.keep == "last":
            kept, kept_state = row, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept_state)
    parameters = sum(parameter.numel() for parameter in method.parameters())
    taken = sum(player.steps for player in players if player.sees_images)
    cost = {"parameters": parameters, "steps": taken, "seconds": time.perf_counter() - started}
    return network, {**kept, **cost}, curve


def check_trial(trial: Trial, config: MultitaskConfig, data: TrainingData) -> None:
    """Raise UserError if a trial cannot train on these images. It trains nothing."""
    _plan_trial(trial, config, data)


def _plan_trial(trial: Trial, config: MultitaskConfig, data: TrainingData) -> tuple[Method, list[Stream], int, int]:
    """Build the method of a trial. Return it with its streams, the epochs, and the steps of an epoch."""
    torch.manual_seed(trial.seed)
    spec = TaskSpec(config, data.images.shape[1], data.classes, trial.weight)
    method = build_method(trial.method, spec).to(data.images.device).to(memory_format=torch.channels_last)
    steps = int(np.ceil(len(data.labelled) / config.batch_size))
    epochs = math.ceil(method.epochs_factor * max(config.epochs, -(-config.least_steps // steps)))
    streams = method.list_streams(data)
    _check_batch_sizes(method, trial.method, [min(config.batch_size, len(stream.indices)) for stream in streams])
    method.check_steps(epochs * steps)
    return method, streams, epochs, steps


def _check_batch_sizes(method: Method, name: str, sizes: list[int]) -> None:
    """Raise UserError if batch normalisation would see batches of one image. `sizes` are those of each stream."""
    if min(sizes) < 2 and any(isinstance(module, _BatchNorm) for module in method.modules()):
        config = method.spec.config
        raise UserError(
            f"{name} with multitask.backbone={config.backbone} and multitask.batch_size={config.batch_size}: some batches have "
            "one image, on which batch normalisation cannot train; two images are needed: labelled ones, and for auxilearn "
            "held-out ones (multitask.auxilearn.held_out)."
        )


def _start_players(method: Method, total: int, engine_config: EngineConfig, device: torch.device) -> list[Player]:
    """Start the players of a method. Each takes `total` steps with the config's decay of the learning rate."""
    shape, players = method.spec.config.decay, method.list_players()
    for player in players:
        player.start(
            engine_config,
            device,
            lambda step: compute_decay(shape, step, total),
            differentiates_twice=method.differentiates_twice,
        )
    return players
