"""Train through the steps of one phase: batches, loss, optimiser, log and checkpoints."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detaux.config import Config
from detaux.config.schema import DisentangleConfig
from detaux.disentangle.collapse import warn_of_collapse
from detaux.disentangle.log_line import LineFacts, build_line
from detaux.disentangle.model import Disentangler
from detaux.disentangle.phases import MicroBatch, Phase
from detaux.runtime.checkpoint import save_checkpoint
from detaux.runtime.collectives import gather_objects
from detaux.runtime.compile import compile_or_fall_back
from detaux.runtime.device import read_peak_bytes
from detaux.runtime.engines import EngineState, Parts, build_engine
from detaux.runtime.lr import compute_lr
from detaux.runtime.metrics import MetricsLog
from detaux.runtime.prefetch import Prefetcher
from detaux.runtime.ranks import rank, world_size

Observe = Callable[[int, Disentangler], None]


def build_optimizer(model: Disentangler, config: DisentangleConfig) -> torch.optim.Optimizer:
    """Build Adam or AdamW for all parameters, in its fused form."""
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    return kinds[config.optimizer](model.parameters(), weight_decay=config.weight_decay, fused=True)


class Trainer:
    """Train a model through one phase. The loop calls `step`, `log` and `save`.

    Each rank computes its own part of each micro-batch. `observe` is called before each step with the number of steps
    done and the model, which it must not change.
    """

    def __init__(self, config: Config, side: int, phase: Phase) -> None:
        self.config, self.phase = config, phase
        self.observe: Observe | None = None
        self.model = Disentangler(config.model, side, phase.stream.classes)
        self.model.to(phase.device).to(memory_format=torch.channels_last)
        for module in phase.list_idle(self.model):
            module.requires_grad_(False)
        self.optimizer = build_optimizer(self.model, config.disentangle)
        self.engine = build_engine(config.engine, phase.device)
        compute = phase.loss
        if config.disentangle.compile:
            compute = compile_or_fall_back(compute, "disentangle")
        self.compute = self.engine.wrap(
            self.model,
            compute,
            self.optimizer,
            clip=config.disentangle.clip,
            micro_batches=config.disentangle.micro_batches,
        )
        self.batches = Prefetcher(self.make_batch, phase.device)
        self.data_seconds, self.steps_since_log = 0.0, 0

    def step(self, step: int) -> Parts:
        """Take one optimiser step on the step's batch. `step` counts from the start of the phase."""
        if self.observe is not None:
            self.observe(step, self.model)
        if self.phase.reader is not None and self.phase.reader.is_due(step):
            self.phase.reader.read(self.model)
        found: list[Parts] = []
        count = self.config.disentangle.micro_batches
        for number in range(step * count, (step + 1) * count):
            begun = time.perf_counter()
            batch = self.batches.take(number, self.find_following(number))
            self.data_seconds += time.perf_counter() - begun
            loss, parts = self.compute(*batch.arguments, **self.phase.list_settings(step))
            self.engine.backward(loss)
            found.append({"total": loss.detach(), **parts, **batch.facts})
        for group in self.optimizer.param_groups:
            group["lr"] = compute_lr(self.phase.schedule, step)
        norm = self.engine.step()
        self.steps_since_log += 1
        names = dict.fromkeys(name for parts in found for name in parts)
        means = {name: torch.stack([parts[name] for parts in found if name in parts]).mean(0) for name in names}
        return {**means, "grad_norm": norm}

    def find_following(self, number: int) -> int | None:
        """Return the number of the next micro-batch, or None if it cannot be made yet or the phase has no more."""
        step, micro_batch = divmod(number + 1, self.config.disentangle.micro_batches)
        is_early = micro_batch == 0 and self.phase.reader is not None and self.phase.reader.is_due(step)
        return None if is_early or step >= self.phase.schedule.steps else number + 1

    def make_batch(self, number: int) -> MicroBatch:
        """Make this rank's part of a micro-batch, on the device."""
        step, micro_batch = divmod(number, self.config.disentangle.micro_batches)
        return self.phase.draw_batch(step, micro_batch * world_size() + rank())

    def log(self, metrics: MetricsLog | None, begin: int, step: int, means: dict[str, Any], seconds: float) -> None:
        """Write the line of metrics.jsonl after `step` steps of the phase, which starts at global step `begin`.

        Every rank calls this; only the first rank has `metrics`.
        """
        data_seconds, steps = max(gather_objects(self.data_seconds)), self.steps_since_log
        self.data_seconds, self.steps_since_log = 0.0, 0
        if metrics is None:
            return
        phase, batch_size = self.phase, self.phase.schedule.batch_size
        facts = LineFacts(
            step=begin + step,
            steps=self.config.disentangle.warmup.steps + self.config.disentangle.main.steps,
            phase=phase.name,
            uses_ground_truth=phase.uses_ground_truth,
            progress=phase.compute_progress(step),
            betas=phase.compute_betas(step),
            lr=compute_lr(phase.schedule, step - 1),
            images=batch_size * phase.images_per_sample * steps,
            data_seconds=data_seconds,
            memory_bytes=read_peak_bytes(phase.device),
            seconds=seconds,
        )
        line = build_line(means, facts)
        warning = {} if metrics.has_warned else warn_of_collapse(line, self.model.alpha, batch_size * steps)
        metrics.write(line | warning)

    def save(self, checkpoints: Path, inputs_hash: str, begin: int, step: int) -> None:
        """Write a checkpoint after `step` steps of the phase, which starts at global step `begin`."""
        state = self.engine.state()
        training = {"optimizer": state.optimizer, **self.phase.list_state()}
        keep = self.config.disentangle.keep_checkpoints
        save_checkpoint(checkpoints, begin + step, state.model, training, inputs_hash, keep)

    def load(self, weights: dict[str, Tensor], training: dict[str, Any]) -> None:
        """Load weights. If `training` has the rest of a checkpoint, training continues from that checkpoint."""
        self.engine.load(EngineState(weights, training.get("optimizer", {})))
        self.phase.load_state(training)
