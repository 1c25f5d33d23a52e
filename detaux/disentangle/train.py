"""Train the disentangler: warm up on reconstruction, then all terms on pairs (paper, section 3.2)."""

import math
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detaux.artefacts import (
    AUTOENCODER_FILE,
    CHECKPOINT_NAME,
    CONFIG_NAME,
    MANIFEST_NAME,
    METRICS_NAME,
    MODEL_FILE,
    SCORES_NAME,
)
from detaux.config import Config, dump_config
from detaux.config.schema import DisentangleConfig, PhaseConfig
from detaux.data.augment import remove_noise, salt_images, to_float
from detaux.data.draws import draw_columns
from detaux.data.pairs import PairStream, compute_one_factor_share
from detaux.data.plan import split_batch
from detaux.data.schema import read_manifest
from detaux.data.split import load_split
from detaux.data.stream import SampleStream
from detaux.disentangle.batches import check_batches
from detaux.disentangle.collapse import warn_of_collapse
from detaux.disentangle.edges import read_edges
from detaux.disentangle.mixes import Mixes, draw_mixes
from detaux.disentangle.model import Disentangler, load_disentangler, save_disentangler
from detaux.disentangle.objective import compute_objective, compute_reconstruction
from detaux.disentangle.panels import list_lines
from detaux.disentangle.restarts import list_restarts, seed_restart
from detaux.losses.pair_measures import choose_backend
from detaux.losses.schedule import compute_betas
from detaux.runtime.checkpoint import load_checkpoint, save_checkpoint
from detaux.runtime.compile import compile_or_fall_back
from detaux.runtime.device import read_peak_bytes, select_device
from detaux.runtime.engines import Compute, EngineState, Parts, build_engine, choose_engine
from detaux.runtime.files import write_json
from detaux.runtime.loop import run_loop
from detaux.runtime.mirrors import open_mirrors
from detaux.runtime.prefetch import Prefetcher
from detaux.runtime.progress import say
from detaux.runtime.ranks import alone, gather_objects, is_first, rank, run_first, share_object, world_size
from detaux.runtime.record import compute_inputs_hash, hash_inputs, write_record
from detaux.runtime.tracker import MetricsLog

Observe = Callable[[int, Disentangler], None]

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


@dataclass(frozen=True)
class Batch:
    """What the function of the loss takes first, and facts of the batch for the log."""

    arguments: tuple[Any, ...]
    facts: Parts

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        inside = (one for argument in self.arguments if isinstance(argument, Mixes) for one in argument.tensors)
        return (*(argument for argument in self.arguments if isinstance(argument, Tensor)), *inside)


class Trainer:
    """What the steps of a phase need; the loop calls `step`.

    A step's batch is cut into equal parts, one for each micro-batch and rank; this rank computes its own. `observe` is
    called before each step with the number of steps done and the model, which it must leave as it is.
    """

    def __init__(self, config: Config, side: int, device: torch.device, stream: SampleStream, *, is_main: bool) -> None:
        self.config, self.device, self.stream, self.is_main = config, device, stream, is_main
        self.observe: Observe | None = None
        self.phase = config.disentangle.main if is_main else config.disentangle.warmup
        self.model = Disentangler(config.model, side).to(device).to(memory_format=torch.channels_last)
        self.optimizer = build_optimizer(self.model, config.disentangle)
        self.engine = build_engine(config.engine, device)
        compute: Compute = compute_objective if is_main else compute_reconstruction
        if config.disentangle.compile:
            compute = compile_or_fall_back(compute, "disentangle")
        self.compute = self.engine.wrap(
            self.model,
            compute,
            self.optimizer,
            clip=config.disentangle.clip,
            micro_batches=config.disentangle.micro_batches,
        )
        self.pairs: PairStream | None = None
        if is_main:
            batch_size = self.phase.batch_size
            self.pairs = PairStream(stream, config.data, config.pairs, batch_size=batch_size, seed=config.run.seed)
        self.batches = Prefetcher(self.make_batch, device)
        self.data_seconds, self.steps_since_log = 0.0, 0

    @property
    def autocast(self) -> torch.dtype | None:
        return torch.bfloat16 if self.config.disentangle.precision == "bf16" else None

    @property
    def shares(self) -> int:
        """What a step's batch is cut into: micro-batches of all ranks."""
        return self.config.disentangle.micro_batches * world_size()

    def prepare(self, images: Tensor, step: int, wanted: range, total: int) -> Tensor:
        """uint8 [M, H, W, C] to float [M, C, H, W] on the device, channels last, with the step's noise.

        The images are the columns `wanted` of `total`, row by row: the images of chains, or one row of them.
        """
        floats = to_float(images.to(self.device)).contiguous(memory_format=torch.channels_last)
        if self.config.data.noise == 0:
            return floats
        rows, (height, width) = len(images) // len(wanted), floats.shape[2:]

        def draw(block: range, generator: torch.Generator) -> Tensor:
            return torch.rand(rows, len(block), height, width, generator=generator).permute(0, 2, 3, 1)

        noise = draw_columns(draw, total, wanted, self.config.run.seed, NOISE_STREAM, step)
        floats = salt_images(floats, self.config.data.noise, noise.permute(0, 3, 1, 2).reshape(-1, height, width))
        return remove_noise(floats) if self.config.data.denoise else floats

    def step(self, step: int) -> Parts:
        """One optimiser step on the step's batch; `step` counts from the begin of the phase."""
        if self.observe is not None:
            self.observe(step, self.model)
        if self.is_oracle_step(step):
            self.read_oracle()
        found: list[Parts] = []
        count = self.config.disentangle.micro_batches
        for number in range(step * count, (step + 1) * count):
            begun = time.perf_counter()
            batch = self.batches.take(number, self.find_following(number))
            self.data_seconds += time.perf_counter() - begun
            loss, parts = self.compute(*batch.arguments, **self.list_settings(step))
            self.engine.backward(loss)
            found.append({"total": loss.detach(), **parts, **batch.facts})
        for group in self.optimizer.param_groups:
            group["lr"] = compute_lr(self.phase, step)
        norm = self.engine.step()
        self.steps_since_log += 1
        names = dict.fromkeys(name for parts in found for name in parts)
        means = {name: torch.stack([parts[name] for parts in found if name in parts]).mean(0) for name in names}
        return {**means, "grad_norm": norm}

    def is_oracle_step(self, step: int) -> bool:
        """Whether the oracle reads the mined graph before this step, whose pairs then depend on what it found."""
        pairs = self.config.pairs
        return (
            self.pairs is not None
            and self.pairs.graph is not None
            and pairs.walk > 0
            and step % pairs.walk_interval == 0
        )

    def find_following(self, number: int) -> int | None:
        """The micro-batch after one, None where it cannot be made yet or is not of this phase."""
        step, micro_batch = divmod(number + 1, self.config.disentangle.micro_batches)
        is_early = micro_batch == 0 and self.is_oracle_step(step)
        return None if is_early or step >= self.phase.steps else number + 1

    def list_settings(self, step: int) -> dict[str, Any]:
        """What the function of the loss takes beside a batch."""
        settings = {"losses": self.config.losses, "autocast": self.autocast}
        if not self.is_main:
            return settings
        betas = compute_betas(self.progress(step), self.config.losses.schedule)
        return {**settings, "betas": betas, "pairs": self.config.pairs}

    def make_batch(self, number: int) -> Batch:
        """This rank's part of a micro-batch, on the device; a pure function of the number and of the mined graph."""
        step, micro_batch = divmod(number, self.config.disentangle.micro_batches)
        part = micro_batch * world_size() + rank()
        return self._draw_images(step, part) if self.pairs is None else self._draw_pairs(self.pairs, step, part)

    def _draw_images(self, step: int, part: int) -> Batch:
        size = min(self.phase.batch_size, self.stream.samples)
        wanted = split_batch(size, part, self.shares, "images")
        window = self.stream.window(step * size + wanted.start, len(wanted))
        return Batch((self.prepare(window.images(torch.arange(len(wanted))), step, wanted, size),), {})

    def _draw_pairs(self, pairs: PairStream, step: int, part: int) -> Batch:
        config = self.config
        wanted = split_batch(pairs.chains, part, self.shares, "chains")
        batch = pairs.batch(step, wanted)
        images = self.prepare(batch.images, config.disentangle.warmup.steps + step, wanted, pairs.chains)
        mixes = draw_mixes(
            config.pairs.reuse,
            pairs.chains,
            wanted,
            subspaces=self.model.num_subspaces,
            mixes=config.losses.consistency.mixes,
            parts=self.shares,
            seed=(config.run.seed, MIX_STREAM, step),
        )
        facts = {"pairs/different_share": batch.is_different.float().mean()}
        share = compute_one_factor_share(batch)
        if share is not None:
            facts["pairs/one_factor_share"] = share
        return Batch((images, batch.labels.to(self.device), batch.chains, mixes.to(self.device)), facts)

    def progress(self, step: int) -> float:
        """Training progress t in [0, 1]: the warm-up ends at `warmup_fraction`, whatever its number of steps."""
        begin = self.config.losses.schedule.warmup_fraction
        return begin + (1 - begin) * (step + 1) / self.config.disentangle.main.steps

    def log(self, metrics: MetricsLog | None, begin: int, step: int, means: dict[str, Any], seconds: float) -> None:
        """Write the line of metrics.jsonl after `step` steps of the phase that begins at global step `begin`.

        Every rank calls it; the first has the metrics.
        """
        data_seconds, steps = max(gather_objects(self.data_seconds)), self.steps_since_log
        self.data_seconds, self.steps_since_log = 0.0, 0
        if metrics is None:
            return
        schedule = self.config.losses.schedule
        progress = self.progress(step - 1) if self.is_main else schedule.warmup_fraction * step / self.phase.steps
        betas = compute_betas(progress, schedule) if self.is_main else NO_BETAS
        images = self.phase.batch_size * (2 if self.is_main else 1)
        if "pairs/one_factor_share" in means:  # of the pairs with equal labels
            equal = 1 - means["pairs/different_share"]
            means["pairs/one_factor_share"] = means["pairs/one_factor_share"] / equal if equal else None
        plain = ("grad_norm", "pairs/different_share", "pairs/one_factor_share")
        renamed = {"oracle_share": "oracle/share"} | {name: name for name in plain}
        line = {
            "step": begin + step,
            "steps": self.config.disentangle.warmup.steps + self.config.disentangle.main.steps,
            "phase": "main" if self.is_main else "warmup",
            "uses_ground_truth": self.is_main and self.config.pairs.partner == "one_factor",
            "progress": progress,
            **{renamed.get(part, f"loss/{part}"): value for part, value in means.items()},
            **{f"beta/{index}": beta for index, beta in enumerate(betas, start=1)},
            "lr": compute_lr(self.phase, step - 1),
            "samples_per_second": images * steps / seconds,
            "data_wait_share": data_seconds / seconds,
            "memory_bytes": read_peak_bytes(self.device),
            "seconds": seconds,
        }
        warning = {} if metrics.has_warned else warn_of_collapse(line, self.model.alpha, self.phase.batch_size * steps)
        metrics.write(line | warning)

    def save(self, checkpoints: Path, inputs_hash: str, begin: int, step: int) -> None:
        """Checkpoint after `step` steps of the phase that begins at global step `begin`."""
        state = self.engine.state()
        training: dict[str, Any] = {"optimizer": state.optimizer}
        if self.pairs is not None and self.pairs.graph is not None:
            training["edge_subspaces"] = self.pairs.graph.subspaces
        keep = self.config.disentangle.keep_checkpoints
        save_checkpoint(checkpoints, begin + step, state.model, training, inputs_hash, keep)

    def load(self, weights: dict[str, Tensor], training: dict[str, Any]) -> None:
        """Begin from weights; with what else `save` wrote, go on where it left off."""
        self.engine.load(EngineState(weights, training.get("optimizer", {})))
        if self.pairs is not None and self.pairs.graph is not None and training:
            self.pairs.graph.subspaces = training["edge_subspaces"]

    def read_oracle(self) -> None:
        """Ask the oracle which subspace each mined edge changes; each rank embeds its share of the pool."""
        assert self.pairs is not None
        assert self.pairs.graph is not None
        labels = self.pairs.pool_labels
        share = -(-len(labels) // world_size())
        wanted = range(rank() * share, (rank() + 1) * share)
        rows = torch.arange(wanted.start, wanted.stop).clamp(max=len(labels) - 1)
        images = self.prepare(self.pairs.pool_images(rows), 0, wanted, world_size() * share)
        normalizer = self.config.losses.oracle.normalizer
        subspaces = read_edges(self.model, images, labels, *self.pairs.graph.edges(), normalizer)
        self.pairs.graph.mark(subspaces)


def run_disentangle(config: Config, shards: Path, folder: Path, observe: Observe | None = None) -> None:
    """Train `model.restarts` disentanglers on the training split of `shards`, each of which leaves checkpoint/, metrics.jsonl
    and scores.json in its folder of list_restarts.

    Goes on from the newest checkpoint with the same inputs; a run killed anywhere ends with the same weights. All ranks call
    it together and share every step; the first writes the files. `observe` sees the steps of the main phase, as Trainer says.
    """
    started = time.time()
    is_upper_bound = config.pairs.partner == "one_factor"
    if is_upper_bound:
        say("disentangle: pairs.partner=one_factor uses ground truth; every number of this run is an upper bound")
    hashes = share_object(hash_inputs({"manifest": shards / MANIFEST_NAME}) if is_first() else None)
    device = select_device(config.run)
    engine, backend = choose_engine(config.engine), choose_backend(config.losses.backend, device)
    say(f"disentangle: device {device}, ranks {world_size()}, engine {engine}, losses {backend}")
    places, bad = list_restarts(folder, config.model.restarts), 0
    for number, place in enumerate(places):
        if len(places) > 1:
            say(f"disentangle: restart {number + 1} of {len(places)}")
        bad = train_disentangler(seed_restart(config, number), shards, place, hashes, device, observe)
    if not is_first():
        return
    for stale in set(folder.glob("restart_*")) - set(places):
        shutil.rmtree(stale)
    names = (str(MODEL_FILE), str(AUTOENCODER_FILE), METRICS_NAME, SCORES_NAME)
    write_record(
        folder,
        "disentangle",
        config,
        hashes,
        [str((place / name).relative_to(folder)) for place in places for name in names],
        started,
        facts={"uses_ground_truth": is_upper_bound, "quarantined_samples": bad, "ranks": world_size()},
    )


def train_disentangler(
    config: Config,
    shards: Path,
    folder: Path,
    hashes: dict[str, str],
    device: torch.device,
    observe: Observe | None = None,
) -> int:
    """Train one disentangler in `folder`; returns how many samples could not be read."""
    inputs_hash = compute_inputs_hash("disentangle", config, hashes)
    manifest = read_manifest(shards)
    stream = SampleStream(
        shards, "train", config.data, seed=config.run.seed, device=device, needs_factors=bool(manifest.factors)
    )
    shares = config.disentangle.micro_batches * world_size()
    run_first(lambda: check_batches(config, stream.samples, shares))
    torch.manual_seed(config.run.seed)
    weights = Disentangler(config.model, manifest.side).state_dict()

    checkpoints = folder / CHECKPOINT_NAME
    found = load_checkpoint(checkpoints, inputs_hash)
    start, weights, training = found or (0, weights, {})
    if found is not None:
        say(f"disentangle: goes on from step {start}")
    elif is_first():
        shutil.rmtree(checkpoints, ignore_errors=True)
    if is_first():
        checkpoints.mkdir(parents=True, exist_ok=True)
        dump_config(config, checkpoints / CONFIG_NAME)

    begin = 0
    with MetricsLog(folder, start) if is_first() else nullcontext() as metrics:
        if metrics is not None:
            metrics.start_mirrors(open_mirrors(config, "disentangle", folder, inputs_hash, list_lines(config)))
        for name, phase in (("warmup", config.disentangle.warmup), ("main", config.disentangle.main)):
            end = begin + phase.steps
            if name == "main" and start <= begin and is_first():
                save_disentangler(weights, manifest.side, folder / AUTOENCODER_FILE)
            if start < end:
                trainer = Trainer(config, manifest.side, device, stream, is_main=name == "main")
                trainer.observe = observe if trainer.is_main else None
                trainer.load(weights, training if start > begin else {})
                run_loop(
                    trainer.step,
                    description=f"disentangle {name}",
                    first_step=max(0, start - begin),
                    steps=phase.steps,
                    log_interval=config.disentangle.log_interval,
                    checkpoint_interval=config.disentangle.checkpoint_interval,
                    log=partial(trainer.log, metrics, begin),
                    save=partial(trainer.save, checkpoints, inputs_hash, begin),
                )
                weights = trainer.engine.state().model
            begin = end

    if is_first():
        save_disentangler(weights, manifest.side, folder / MODEL_FILE)
        scores = {}
        if manifest.factors:
            # scikit-learn takes as long to import as torch, and one process of all needs it, once
            from detaux.disentangle.factor_scores import score_factors

            with alone():
                split = load_split(shards, "train", config.data, device)
                scores = score_factors(load_disentangler(folder, device), split, manifest)
        write_json(folder / SCORES_NAME, scores)
    return stream.bad
