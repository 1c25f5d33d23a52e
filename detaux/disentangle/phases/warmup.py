"""Define the warm-up, which only reconstructs single images (paper, section 3.2)."""

from typing import Any

import torch
from torch import Tensor, nn

from detaux.config import Config
from detaux.config.schema import PhaseConfig
from detaux.data.draws import draw_columns
from detaux.data.plan import split_batch
from detaux.disentangle.hard_images import HardImages, find_hard_images, read_hard_images
from detaux.disentangle.label_part import count_label_dims
from detaux.disentangle.model import Disentangler
from detaux.disentangle.objective import compute_conditional_reconstruction, compute_reconstruction
from detaux.disentangle.phases.base import CODE_STREAM, MicroBatch, Phase
from detaux.runtime.agreement import run_first
from detaux.runtime.engines import Compute

NO_BETAS = (0.0, 0.0, 0.0)


class WarmupPhase(Phase):
    """Learn to reconstruct single images before the losses on pairs start."""

    name = "warmup"
    is_observed = False
    images_per_sample = 1
    hard: HardImages | None = None  # from which a part of each batch is drawn; None if disentangle.hard_fraction is 0

    @staticmethod
    def read_schedule(config: Config) -> PhaseConfig:
        return config.disentangle.warmup

    def load_state(self, training: dict[str, Any]) -> None:
        """Find the hard images, on the first rank, unless a checkpoint names them, and read only these."""
        config, stream = self.config, self.stream
        fraction = config.disentangle.hard_fraction
        if fraction == 0:
            return

        def find() -> list[int]:
            found = find_hard_images(stream.window(0, stream.samples), stream.classes, config)
            stream.forget()  # the whole split, in memory if its layout is standard
            return found

        places_H = training.get("hard_images")
        if places_H is None:
            places_H = torch.tensor(run_first(find), dtype=torch.int64)
        size = min(config.data.window, stream.samples)
        self.hard = HardImages(places_H, *read_hard_images(stream, places_H, size), fraction, config.run.seed)

    def list_state(self) -> dict[str, Tensor]:
        return {} if self.hard is None else {"hard_images": self.hard.places_H}

    @property
    def loss(self) -> Compute:
        return compute_conditional_reconstruction if self.config.model.conditional else compute_reconstruction

    def list_idle(self, model: Disentangler) -> list[nn.Module]:
        return [] if model.label_part is None else [model.projectors]

    def draw_batch(self, step: int, part: int) -> MicroBatch:
        size = min(self.schedule.batch_size, self.stream.samples)
        wanted = split_batch(size, part, self.parts, "images")
        window = self.stream.window(step * size + wanted.start, len(wanted))
        stored, labels = window.images(torch.arange(len(wanted))), window.labels
        if self.hard is not None:
            stored, labels = self.hard.replace(stored, labels, step, wanted, size)
        images = self.prepare(stored, step, wanted, size)
        if not self.config.model.conditional:
            return MicroBatch((images,), {})

        def draw_block(block: range, generator: torch.Generator) -> Tensor:
            return torch.randn(free, len(block), generator=generator)

        latent = self.config.model.latent
        free = latent - count_label_dims(self.stream.classes, latent)
        noise = draw_columns(draw_block, size, wanted, self.config.run.seed, CODE_STREAM, step).T
        return MicroBatch((images, labels.to(self.device), noise.to(self.device)), {})

    def list_settings(self, step: int) -> dict[str, Any]:
        return {"losses": self.config.losses, "autocast": self.autocast}

    def compute_progress(self, done: int) -> float:
        return self.config.losses.schedule.warmup_fraction * done / self.schedule.steps

    def compute_betas(self, done: int) -> tuple[float, float, float]:
        return NO_BETAS
