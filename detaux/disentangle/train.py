"""Train the disentangler: warm up on reconstruction, then all terms on pairs (paper, section 3.2)."""

import math
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detaux.config import Config, dump_config
from detaux.config.schema import DisentangleConfig, PhaseConfig
from detaux.data.augment import add_noise, to_float
from detaux.data.pairs import PairStream, compute_one_factor_share, seed_generator
from detaux.data.schema import MANIFEST_NAME, read_manifest
from detaux.data.split import load_split
from detaux.data.stream import SampleStream
from detaux.disentangle.edges import read_edges
from detaux.disentangle.factor_scores import score_factors
from detaux.disentangle.model import AUTOENCODER_FILE, MODEL_FILE, Disentangler, save_disentangler
from detaux.disentangle.objective import compute_objective
from detaux.losses.reconstruction import reconstruction_loss
from detaux.losses.schedule import compute_betas
from detaux.runtime.checkpoint import load_checkpoint, save_checkpoint
from detaux.runtime.device import select_device
from detaux.runtime.files import write_json
from detaux.runtime.loop import run_loop
from detaux.runtime.progress import say
from detaux.runtime.record import compute_inputs_hash, hash_inputs, write_record
from detaux.runtime.tracker import METRICS_NAME, MetricsLog

NO_BETAS = (0.0, 0.0, 0.0)
WARMUP_STREAM, NOISE_STREAM, MIX_STREAM = 1, 2, 3  # keep the random draws of different uses apart


def compute_lr(phase: PhaseConfig, step: int) -> float:
    """Learning rate of a step: linear ramp, plateau, then linear or cosine decay to `final_lr_fraction` of the peak."""
    ramp = min(1.0, (step + 1) / phase.ramp_steps) if phase.ramp_steps else 1.0
    begin = phase.steps * (1 - phase.decay_fraction)
    done = max(0.0, (step - begin) / max(1.0, phase.steps - begin))
    shapes = {"none": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
    floor = phase.final_lr_fraction
    return phase.lr * ramp * (floor + (1 - floor) * shapes[phase.decay])


def build_optimizer(model: Disentangler, config: DisentangleConfig) -> torch.optim.Optimizer:
    """Adam or AdamW over all parameters, fused into one kernel."""
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    return kinds[config.optimizer](model.parameters(), weight_decay=config.weight_decay, fused=True)


@dataclass
class Trainer:
    """What a step needs; `warmup_step` and `main_step` are the two kinds of step the loop calls."""

    config: Config
    model: Disentangler
    device: torch.device
    stream: SampleStream
    optimizer: torch.optim.Optimizer
    pairs: PairStream | None = None
    data_seconds: float = 0.0
    steps_since_log: int = 0

    def prepare(self, images: Tensor, step: int) -> Tensor:
        """uint8 [M, H, W, C] to float [M, C, H, W] on the device, channels last, with the step's noise."""
        floats = to_float(images.to(self.device)).contiguous(memory_format=torch.channels_last)
        if self.config.data.noise > 0:
            generator = seed_generator(self.config.run.seed, NOISE_STREAM, step)
            floats = add_noise(floats, self.config.data.noise, generator)
        return floats

    @property
    def autocast(self) -> torch.dtype | None:
        return torch.bfloat16 if self.config.disentangle.precision == "bf16" else None

    def update(self, loss: Tensor, phase: PhaseConfig, step: int) -> Tensor:
        """One optimiser step; returns the gradient norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = compute_lr(phase, step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = self.config.disentangle.clip or float("inf")
        self.steps_since_log += 1
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.optimizer.step()
        return norm.detach()

    def warmup_step(self, step: int) -> dict[str, Tensor]:
        phase = self.config.disentangle.warmup
        begun = time.perf_counter()
        count = min(phase.batch_size, self.stream.samples)
        images = self.prepare(self.stream.window(step * count, count).images(torch.arange(count)), step)
        self.data_seconds += time.perf_counter() - begun
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            _, reconstructions = self.model(images)
        form = self.config.losses.reconstruction.form
        part = reconstruction_loss(images, reconstructions, form)
        loss = self.config.losses.weights.reconstruction * part
        norm = self.update(loss, phase, step)
        return {"total": loss.detach(), "reconstruction": part.detach(), "grad_norm": norm}

    def main_step(self, step: int) -> dict[str, Tensor]:
        """One step on pairs; `step` counts from the begin of the main phase."""
        assert self.pairs is not None
        begun = time.perf_counter()
        if self.pairs.graph is not None and self.config.pairs.walk and step % self.config.pairs.walk_interval == 0:
            self.read_oracle()
        batch = self.pairs.batch(step)
        images = self.prepare(batch.images, self.config.disentangle.warmup.steps + step)
        self.data_seconds += time.perf_counter() - begun
        share = compute_one_factor_share(batch)
        extra = {} if share is None else {"pairs/one_factor_share": torch.tensor(share)}
        loss, parts = compute_objective(
            self.model,
            images,
            batch.labels.to(self.device),
            batch.first.to(self.device),
            batch.second.to(self.device),
            betas=compute_betas(self.progress(step), self.config.losses.schedule),
            losses=self.config.losses,
            pairs=self.config.pairs,
            generator=seed_generator(self.config.run.seed, MIX_STREAM, step),
            autocast=self.autocast,
        )
        parts["grad_norm"] = self.update(loss, self.config.disentangle.main, step)
        parts["pairs/different_share"] = batch.is_different.float().mean()
        return parts | extra

    def progress(self, step: int) -> float:
        """Training progress t in [0, 1]: the warm-up ends at `warmup_fraction`, whatever its number of steps."""
        begin = self.config.losses.schedule.warmup_fraction
        return begin + (1 - begin) * (step + 1) / self.config.disentangle.main.steps

    def log(self, metrics: MetricsLog, name: str, begin: int, step: int, means: dict[str, Any], seconds: float) -> None:
        """Write the line of metrics.jsonl after `step` steps of the phase that begins at global step `begin`."""
        phase = self.config.disentangle.main if name == "main" else self.config.disentangle.warmup
        schedule = self.config.losses.schedule
        is_main = name == "main"
        progress = self.progress(step - 1) if is_main else schedule.warmup_fraction * step / phase.steps
        betas = compute_betas(progress, schedule) if is_main else NO_BETAS
        images = phase.batch_size * (2 if is_main else 1)
        plain = ("grad_norm", "pairs/different_share", "pairs/one_factor_share")
        renamed = {"oracle_share": "oracle/share"} | {name: name for name in plain}
        metrics.write(
            {
                "step": begin + step,
                "phase": name,
                "uses_ground_truth": is_main and self.config.pairs.partner == "one_factor",
                "progress": progress,
                **{renamed.get(part, f"loss/{part}"): value for part, value in means.items()},
                **{f"beta/{index}": beta for index, beta in enumerate(betas, start=1)},
                "lr": compute_lr(phase, step - 1),
                "samples_per_second": images * self.steps_since_log / seconds,
                "data_wait_share": self.data_seconds / seconds,
                "seconds": seconds,
            }
        )
        self.data_seconds, self.steps_since_log = 0.0, 0

    def save(self, checkpoints: Path, inputs_hash: str, begin: int, step: int) -> None:
        """Checkpoint after `step` steps of the phase that begins at global step `begin`."""
        training: dict[str, Any] = {"optimizer": self.optimizer.state_dict()}
        if self.pairs is not None and self.pairs.graph is not None:
            training["edge_subspaces"] = self.pairs.graph.subspaces
        keep = self.config.disentangle.keep_checkpoints
        save_checkpoint(checkpoints, begin + step, self.model.state_dict(), training, inputs_hash, keep)

    def load_training(self, training: dict[str, Any]) -> None:
        """Restore what `save` wrote beside the weights."""
        self.optimizer.load_state_dict(training["optimizer"])
        if self.pairs is not None and self.pairs.graph is not None:
            self.pairs.graph.subspaces = training["edge_subspaces"]

    def read_oracle(self) -> None:
        """Ask the oracle which subspace each mined edge changes."""
        assert self.pairs is not None
        assert self.pairs.graph is not None
        images = self.prepare(self.pairs.pool_images(), 0)
        labels = self.pairs.pool_labels
        normalizer = self.config.losses.oracle.normalizer
        subspaces = read_edges(self.model, images, labels, *self.pairs.graph.edges(), normalizer)
        self.pairs.graph.mark(subspaces)


def run_disentangle(config: Config, shards: Path, folder: Path) -> None:
    """Train on the training split of `shards` and leave checkpoint/, metrics.jsonl and scores.json in `folder`.

    Goes on from the newest checkpoint with the same inputs; a run killed anywhere ends with the same weights.
    """
    started = time.time()
    is_upper_bound = config.pairs.partner == "one_factor"
    if is_upper_bound:
        say("disentangle: pairs.partner=one_factor uses ground truth; every number of this run is an upper bound")
    hashes = hash_inputs({"manifest": shards / MANIFEST_NAME})
    inputs_hash = compute_inputs_hash("disentangle", config, hashes)
    manifest = read_manifest(shards)
    device = select_device(config.run)
    stream = SampleStream(
        shards, "train", config.data, seed=config.run.seed, device=device, needs_factors=bool(manifest.factors)
    )
    torch.manual_seed(config.run.seed)
    model = Disentangler(config.model, manifest.side).to(device).to(memory_format=torch.channels_last)
    trainer = Trainer(config, model, device, stream, build_optimizer(model, config.disentangle))

    checkpoints = folder / "checkpoint"
    found = load_checkpoint(checkpoints, inputs_hash)
    start, weights, training = found or (0, {}, {})
    if found is None:
        shutil.rmtree(checkpoints, ignore_errors=True)
    else:
        model.load_state_dict(weights)
        say(f"disentangle: goes on from step {start}")

    begin = 0
    with MetricsLog(folder, start) as metrics:
        for name, phase in (("warmup", config.disentangle.warmup), ("main", config.disentangle.main)):
            end = begin + phase.steps
            if name == "main" and start <= begin:
                save_disentangler(model, manifest.side, folder / AUTOENCODER_FILE)
            if start < end:
                trainer.optimizer = build_optimizer(model, config.disentangle)
                if name == "main":
                    trainer.pairs = PairStream(
                        stream, config.data, config.pairs, batch_size=phase.batch_size, seed=config.run.seed
                    )
                if start > begin:
                    trainer.load_training(training)
                run_loop(
                    trainer.main_step if name == "main" else trainer.warmup_step,
                    description=f"disentangle {name}",
                    first_step=max(0, start - begin),
                    steps=phase.steps,
                    log_interval=config.disentangle.log_interval,
                    checkpoint_interval=config.disentangle.checkpoint_interval,
                    log=partial(trainer.log, metrics, name, begin),
                    save=partial(trainer.save, checkpoints, inputs_hash, begin),
                )
            begin = end

    model.eval()
    dump_config(config, checkpoints / "config.yaml")
    save_disentangler(model, manifest.side, folder / MODEL_FILE)
    scores = {}
    if manifest.factors:
        scores = score_factors(model, load_split(shards, "train", config.data, device), manifest)
    write_json(folder / "scores.json", scores)
    write_record(
        folder,
        "disentangle",
        config,
        hashes,
        [str(MODEL_FILE), str(AUTOENCODER_FILE), METRICS_NAME, "scores.json"],
        started,
        facts={"uses_ground_truth": is_upper_bound, "quarantined_samples": stream.bad},
    )
