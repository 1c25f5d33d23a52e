"""Train the disentangler: first only on reconstruction, then on pairs with all terms (paper, section 3.2)."""

import shutil
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detaux.artefacts import (
    AUTOENCODER_FILE,
    CHECKPOINT_NAME,
    CONFIG_NAME,
    METRICS_NAME,
    MODEL_FILE,
    SCORES_NAME,
)
from detaux.config import Config, dump_config
from detaux.data.partners.registry import PARTNER_RULES
from detaux.data.schema import Manifest, read_manifest
from detaux.data.split import load_split
from detaux.data.stream import SampleStream
from detaux.disentangle.batches import check_batches
from detaux.disentangle.model import Disentangler, load_disentangler, save_disentangler
from detaux.disentangle.phases import PHASES
from detaux.disentangle.restarts import list_restarts, seed_restart
from detaux.disentangle.trainer import Observe, Trainer
from detaux.losses.backends import choose_backend
from detaux.runtime.agreement import run_first
from detaux.runtime.checkpoint import load_checkpoint
from detaux.runtime.collectives import compute_on_first
from detaux.runtime.device import select_device
from detaux.runtime.engines import choose_engine
from detaux.runtime.files import write_json
from detaux.runtime.loop import run_loop
from detaux.runtime.metrics import MetricsLog
from detaux.runtime.progress import say
from detaux.runtime.ranks import alone, is_first, world_size
from detaux.runtime.record import compute_inputs_hash, hash_inputs, write_record
from detaux.stages import MANIFEST
from detaux.tracking.mirrors import open_mirrors
from detaux.tracking.panels import list_lines


def run_disentangle(config: Config, shards: Path, folder: Path, observe: Observe | None = None) -> None:
    """Train `model.restarts` disentanglers on the training split of `shards`.

    Each restart writes checkpoint/, metrics.jsonl and scores.json in its folder (list_restarts). A training continues
    from the newest checkpoint with the same inputs, so that a run that was killed ends with the same weights. All ranks
    call this together and share every step. The first rank writes the files. `observe` is called in the main phase, as
    Trainer describes.
    """
    started = time.time()
    is_upper_bound = config.disentangle.main.steps > 0 and PARTNER_RULES[config.pairs.partner].uses_ground_truth
    if is_upper_bound:
        say(
            f"disentangle: pairs.partner={config.pairs.partner} uses ground truth; every number of this run is an upper bound"
        )
    hashes = compute_on_first(lambda: hash_inputs({MANIFEST.name: shards / MANIFEST.file}))
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
    """Train one disentangler in `folder`. Return how many samples could not be read."""
    inputs_hash = compute_inputs_hash("disentangle", config, hashes)
    manifest = read_manifest(shards)
    stream = SampleStream(
        shards, "train", config.data, seed=config.run.seed, device=device, needs_factors=bool(manifest.factors)
    )
    shares = config.disentangle.micro_batches * world_size()
    run_first(lambda: check_batches(config, stream.samples, shares))
    torch.manual_seed(config.run.seed)
    fresh = Disentangler(config.model, manifest.side, len(manifest.classes)).state_dict()
    checkpoints, begin = folder / CHECKPOINT_NAME, 0
    start, weights, training = _find_start(config, checkpoints, inputs_hash) or (0, fresh, {})
    with MetricsLog(folder, start) if is_first() else nullcontext() as metrics:
        if metrics is not None:
            metrics.start_mirrors(open_mirrors(config, "disentangle", folder, inputs_hash, list_lines(config)))
        for kind in PHASES:
            end = begin + kind.read_schedule(config).steps
            if kind.begins_from_autoencoder and start <= begin:
                if is_first():
                    save_disentangler(weights, manifest.side, folder / AUTOENCODER_FILE)
                if config.model.conditional:
                    weights = _start_independent(weights, config, shards, manifest, device)
            if start < end:
                trainer = Trainer(config, manifest.side, kind(config, stream, device))
                trainer.observe = observe if kind.is_observed else None
                trainer.load(weights, training if start > begin else {})
                run_loop(
                    trainer.step,
                    description=f"disentangle {kind.name}",
                    first_step=max(0, start - begin),
                    steps=end - begin,
                    log_interval=config.disentangle.log_interval,
                    checkpoint_interval=config.disentangle.checkpoint_interval,
                    log=partial(trainer.log, metrics, begin),
                    save=partial(trainer.save, checkpoints, inputs_hash, begin),
                )
                weights = trainer.engine.state().model
            begin = end
    if is_first():
        save_disentangler(weights, manifest.side, folder / MODEL_FILE)
        write_json(folder / SCORES_NAME, _score(config, shards, folder, manifest, device))
    return stream.bad


def _find_start(
    config: Config, checkpoints: Path, inputs_hash: str
) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """Return (step, weights, training) of the newest checkpoint with these inputs.

    If there is none, remove the old checkpoints and return None. Every rank calls this; the first rank writes the
    config next to the checkpoints.
    """
    found = load_checkpoint(checkpoints, inputs_hash)
    if found is not None:
        say(f"disentangle: continues from step {found[0]}")
    elif is_first():
        shutil.rmtree(checkpoints, ignore_errors=True)
    if is_first():
        checkpoints.mkdir(parents=True, exist_ok=True)
        dump_config(config, checkpoints / CONFIG_NAME)
    return found


def _start_independent(
    weights: dict[str, Tensor], config: Config, shards: Path, manifest: Manifest, device: torch.device
) -> dict[str, Tensor]:
    """Return the weights with projectors that give the independent parts of the code. The first rank computes them."""
    model = Disentangler(config.model, manifest.side, len(manifest.classes)).to(device)
    model.load_state_dict(weights)

    def start() -> None:
        from detaux.disentangle.independent_start import (
            start_independent,  # scikit-learn takes as long to import as torch
        )

        start_independent(model.eval(), load_split(shards, "train", config.data, device), config)

    run_first(start)
    return compute_on_first(lambda: {name: value.cpu() for name, value in model.state_dict().items()})


def _score(config: Config, shards: Path, folder: Path, manifest: Manifest, device: torch.device) -> dict[str, Any]:
    """Score the trained model by the known factors; return {} if none is known. Only the first rank calls this."""
    if not manifest.factors:
        return {}
    # scikit-learn takes as long to import as torch, and only the first rank needs it, once
    from detaux.disentangle.factor_scores import score_factors

    with alone():
        split = load_split(shards, "train", config.data, device)
        return score_factors(load_disentangler(folder, device), split, manifest)
