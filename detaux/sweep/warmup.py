"""Share warm-ups between trials: trials with the same keys for the warm-up train it once and continue from its end.

A warm-up is a pure function of these keys. A trial therefore has the same numbers with and without sharing.
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
    """Return the config with defaults for all keys that only the main phase reads."""
    losses = LossesConfig(
        reconstruction=config.losses.reconstruction,
        weights=WeightsConfig(
            reconstruction=config.losses.weights.reconstruction, divergence=config.losses.weights.divergence
        ),
    )
    disentangle = replace(config.disentangle, main=PhaseConfig())
    return replace(config, pairs=PairsConfig(), losses=losses, disentangle=disentangle)


class SharedWarmup:
    """Hold the warm-up of a trial's job. The first trial that needs it trains it and leaves it in `folder` for all.

    A job shares no warm-up if it has several restarts, no main phase, or if sweep.share_warmups=false.
    """

    def __init__(self, folder: Path, job: Job) -> None:
        self.job, self.held = job, ExitStack()
        self.path: Path | None = None
        has_main = job.config.disentangle.main.steps > 0
        if job.config.model.restarts > 1 or not has_main or not job.config.sweep.share_warmups:
            return
        config = seed_restart(job.config, 0)  # the checkpoints of the training have this config's hash
        hashes = hash_inputs({"manifest": job.shards / MANIFEST_NAME})
        self.inputs_hash = compute_inputs_hash("disentangle", config, hashes)
        self.path = folder / f"{compute_inputs_hash('disentangle', strip_config(config), hashes)}.safetensors"

    def take(self) -> bool:
        """Give the trial a checkpoint at the end of its warm-up, and return whether there was one.

        It waits while another trial trains that warm-up. If no trial has trained it, this trial locks it until `keep`
        or `release`.
        """
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
        """Save the weights for the other trials. The model must be at the end of its warm-up."""
        if self.path is not None and not self.path.is_file():
            with atomic_path(self.path) as partial:
                save_file({name: value.contiguous() for name, value in model.state_dict().items()}, partial)
        self.release()

    def release(self) -> None:
        """Unlock the warm-up. If this trial has not kept it, another trial may train it."""
        self.held.close()
