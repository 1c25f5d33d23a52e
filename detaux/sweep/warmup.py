"""Warm-ups that trials share: those that agree in all that a warm-up reads train it once, and each goes on from its end.

A warm-up is a pure function of these keys, so that a trial's numbers are the same with and without.
"""

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save_file

from detaux.artefacts import CHECKPOINT_NAME, MANIFEST_NAME
from detaux.config import Config
from detaux.config.schema import LossesConfig, PairsConfig, PhaseConfig, WeightsConfig
from detaux.disentangle.model import Disentangler
from detaux.disentangle.restarts import seed_restart
from detaux.errors import UserError
from detaux.pipeline import Job
from detaux.runtime.checkpoint import list_checkpoints, save_checkpoint
from detaux.runtime.files import atomic_path, lock_file
from detaux.runtime.progress import say
from detaux.runtime.readers import read_safetensors
from detaux.runtime.record import compute_inputs_hash, hash_inputs

POLL_SECONDS = 0.2


def strip_config(config: Config) -> Config:
    """The config with the defaults of all keys that the main phase alone reads."""
    losses = LossesConfig(
        reconstruction=config.losses.reconstruction,
        weights=WeightsConfig(reconstruction=config.losses.weights.reconstruction),
    )
    disentangle = replace(config.disentangle, main=PhaseConfig())
    return replace(config, pairs=PairsConfig(), losses=losses, disentangle=disentangle)


class SharedWarmup:
    """The warm-up of a trial's job in `folder`, where the first trial that needs it leaves it for the others.

    Jobs of several restarts share none, nor do those with sweep.share_warmups=false.
    """

    def __init__(self, folder: Path, job: Job) -> None:
        self.job, self.held = job, ExitStack()
        self.path: Path | None = None
        if job.config.model.restarts > 1 or not job.config.sweep.share_warmups:
            return
        config = seed_restart(job.config, 0)  # what the training's checkpoints are of
        hashes = hash_inputs({"manifest": job.shards / MANIFEST_NAME})
        self.inputs_hash = compute_inputs_hash("disentangle", config, hashes)
        self.path = folder / f"{compute_inputs_hash('disentangle', strip_config(config), hashes)}.safetensors"

    def take(self) -> bool:
        """Give the trial a checkpoint at the end of its warm-up where another has trained it, after waiting for one that is about
        to; else hold it until `keep` or `release`. Whether it was given."""
        checkpoints = self.job.root / "disentangle" / CHECKPOINT_NAME
        if self.path is None or list_checkpoints(checkpoints):
            return False
        self.held.enter_context(lock_file(self.path.with_suffix(".lock"), lambda: time.sleep(POLL_SECONDS)))
        if not self.path.is_file():
            return False
        try:
            weights = read_safetensors(self.path, "the warm-up is trained once more")
        except UserError as error:
            say(f"sweep: {error}")
            self.path.unlink()
            return False
        phases = self.job.config.disentangle
        save_checkpoint(checkpoints, phases.warmup.steps, weights, {}, self.inputs_hash, phases.keep_checkpoints)
        self.release()
        return True

    def keep(self, model: Disentangler) -> None:
        """Leave the weights for the others; the model is at the end of its warm-up."""
        if self.path is not None and not self.path.is_file():
            with atomic_path(self.path) as partial:
                save_file({name: value.contiguous() for name, value in model.state_dict().items()}, partial)
        self.release()

    def release(self) -> None:
        """Let another trial train the warm-up, where this one has not kept it."""
        self.held.close()
