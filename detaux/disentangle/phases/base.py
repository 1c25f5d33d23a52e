"""Define what a phase gives the trainer: the batch of a step, the loss, and the loss's settings at that step."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from detaux.config import Config
from detaux.config.schema import PhaseConfig
from detaux.data.draws import draw_columns
from detaux.data.prepare import prepare_images
from detaux.data.stream import SampleStream
from detaux.disentangle.edges import GraphReader
from detaux.disentangle.mixes import Mixes
from detaux.disentangle.model import Disentangler
from detaux.runtime.engines import Compute, Parts
from detaux.runtime.ranks import world_size

NOISE_STREAM, MIX_STREAM, CODE_STREAM = 2, 3, 4  # separate the random draws for different uses


@dataclass(frozen=True)
class MicroBatch:
    """Hold the first arguments of the loss function, on the device, and facts about the batch for the log."""

    arguments: tuple[Any, ...]
    facts: Parts

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        inside = (one for argument in self.arguments if isinstance(argument, Mixes) for one in argument.tensors)
        return (*(argument for argument in self.arguments if isinstance(argument, Tensor)), *inside)


class Phase(ABC):
    """Give the trainer a phase's batches, loss and settings. Steps count from the start of the phase.

    A step's batch is divided into equal parts, one for each micro-batch and rank.
    """

    name: ClassVar[str]
    begins_from_autoencoder: ClassVar[bool] = False  # the weights at its start are kept as the autoencoder
    is_observed: ClassVar[bool]  # whether the observer of a training is called in this phase
    images_per_sample: ClassVar[int]  # number of images in one sample of `batch_size`
    uses_ground_truth = False
    reader: GraphReader | None = None  # reads the mined graph between steps; None if there is no graph

    def __init__(self, config: Config, stream: SampleStream, device: torch.device) -> None:
        self.config, self.stream, self.device = config, stream, device
        self.schedule = self.read_schedule(config)

    @staticmethod
    @abstractmethod
    def read_schedule(config: Config) -> PhaseConfig:
        """Return the phase's own settings: steps, batch size, learning rate."""

    @abstractmethod
    def load_state(self, training: dict[str, Any]) -> None:
        """Take over what list_state gave to a checkpoint, or prepare the first step if `training` is {}.

        Every rank calls this before the first step.
        """

    @abstractmethod
    def list_state(self) -> dict[str, Tensor]:
        """Return the tensors, beside weights and optimiser, that later steps depend on."""

    @property
    @abstractmethod
    def loss(self) -> Compute:
        """Return the loss function."""

    def list_idle(self, model: Disentangler) -> list[nn.Module]:
        """List the modules whose weights the loss does not read."""
        return []

    @abstractmethod
    def draw_batch(self, step: int, part: int) -> MicroBatch:
        """Make part `part` of a step's batch. It depends only on both arguments and on the oracle's last reading."""

    @abstractmethod
    def list_settings(self, step: int) -> dict[str, Any]:
        """Return the keyword arguments of the loss function at a step."""

    @abstractmethod
    def compute_progress(self, done: int) -> float:
        """Return the training progress t in [0, 1] after `done` steps of the phase.

        The warm-up ends at `warmup_fraction`, regardless of its number of steps.
        """

    @abstractmethod
    def compute_betas(self, done: int) -> tuple[float, float, float]:
        """Return the betas of the step that ends with `done` steps of the phase."""

    @property
    def autocast(self) -> torch.dtype | None:
        return torch.bfloat16 if self.config.disentangle.precision == "bf16" else None

    @property
    def parts(self) -> int:
        """Return the number of parts of a step's batch: the micro-batches of all ranks."""
        return self.config.disentangle.micro_batches * world_size()

    def prepare(self, images: Tensor, step: int, wanted: range, total: int) -> Tensor:
        """Turn uint8 [M, H, W, C] into float [M, C, H, W] on the device, channels last, with the noise of a step.

        The images fill a grid row by row. Its columns are the `wanted` ones of `total` columns. In the main phase a
        column is a chain. In the warm-up and for the mined graph, the grid has one row.
        """
        rows, (height, width) = len(images) // len(wanted), images.shape[1:3]

        def draw_block(block: range, generator: torch.Generator) -> Tensor:
            return torch.rand(rows, len(block), height, width, generator=generator).permute(0, 2, 3, 1)

        def draw() -> Tensor:
            drawn = draw_columns(draw_block, total, wanted, self.config.run.seed, NOISE_STREAM, step)
            return drawn.permute(0, 3, 1, 2).reshape(-1, height, width)

        data = self.config.data
        return prepare_images(images, self.device, noise=data.noise, draw=draw, denoise=data.denoise)
