"""The multi-task network and one trial of training it."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detaux.backbones import build_backbone
from detaux.backbones.pretrained import load_pretrained
from detaux.config.schema import EngineConfig, MultitaskConfig
from detaux.data.augment import salt_images, to_float
from detaux.errors import NonFiniteLossError
from detaux.multitask.heads import build_head
from detaux.multitask.labels import ROTATION
from detaux.multitask.methods import METHODS
from detaux.runtime.agreement import tell_once
from detaux.runtime.collectives import gather_objects, take_part
from detaux.runtime.engines import build_engine
from detaux.runtime.lr import compute_decay
from detaux.runtime.ranks import rank, world_size

EVALUATION_BATCH = 512
WEIGHTING_LR_FACTOR = 10.0  # learned task weights over the networks' learning rate


@dataclass(frozen=True)
class Trial:
    """What is trained: a method on a kind of auxiliary labels with a weight; STL is ("stl", "none", 0)."""

    method: str
    labels: str
    weight: float
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.labels}-{self.weight:g}-seed{self.seed}"


@dataclass(frozen=True)
class TrainingData:
    """Training images uint8 [N, H, W, C], principal labels [N] (-1 where none), auxiliary labels [N] or None, and the
    number of classes of each task."""

    images: Tensor
    principal: Tensor
    auxiliary: Tensor | None
    classes: list[int]

    @property
    def labelled(self) -> Tensor:
        """Indices of the images with a principal label."""
        return torch.nonzero(self.principal.cpu() >= 0).squeeze(1)


class MultiTaskNetwork(nn.Module):
    """One backbone, one head per task; task 0 is the principal one."""

    def __init__(self, config: MultitaskConfig, side: int, classes: list[int]) -> None:
        super().__init__()
        self.classes = classes
        self.backbone = build_backbone(config.backbone, side)
        if config.pretrained:
            load_pretrained(self.backbone, config.backbone, config.pretrained, "multitask.pretrained")
        self.heads = nn.ModuleList(
            build_head(self.backbone.features, config.head_hidden, config.dropout, count) for count in classes
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        features = self.backbone(images)
        return [head(features) for head in self.heads]


def iterate_batches(indices: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless seeded passes over `indices` in batches; the last batch of a pass may be smaller."""
    while True:
        yield from indices[torch.randperm(len(indices), generator=generator)].split(batch_size)


def prepare(images: Tensor, noise: float, generator: torch.Generator, part: slice = slice(None)) -> Tensor:
    """uint8 [B, H, W, C] to float [b, C, H, W], channels last, with the data's noise, of one part of a batch: the draw is
    that of the whole batch."""
    floats = to_float(images[part]).contiguous(memory_format=torch.channels_last)
    if noise == 0:
        return floats
    draw = torch.rand(images.shape[:3], generator=generator, device=generator.device)
    return salt_images(floats, noise, draw[part])


def turn_images(images: Tensor, turns: Tensor) -> Tensor:
    """Images [B, C, S, S] each turned by its number [B] of quarter turns."""
    if len(images) == 0:  # a rank's part of a batch of fewer images than ranks
        return images
    return torch.stack([image.rot90(int(turn), (1, 2)) for image, turn in zip(images, turns, strict=True)])


@dataclass(frozen=True)
class Batch:
    """A rank's part of a batch of one task: images [b, C, S, S], their labels [b], and the size of the whole batch over the
    number of ranks, by which the sum over the part is divided."""

    images: Tensor
    labels: Tensor
    mean_size: float


class Learner(nn.Module):
    """A network and the weighting of its task losses: all that a trial trains."""

    def __init__(self, network: MultiTaskNetwork, weighting: nn.Module) -> None:
        super().__init__()
        self.network, self.weighting = network, weighting


def compute_losses(network: MultiTaskNetwork, batches: list[Batch]) -> list[Tensor]:
    """Cross-entropies of each task on its own batch; all pass the backbone together. On several ranks their mean over ranks
    is that of the whole batches."""
    logits = network(torch.cat([batch.images for batch in batches]))
    losses, begin = [], 0
    for task, batch in enumerate(batches):
        found = logits[task][begin : begin + len(batch.labels)]
        losses.append(functional.cross_entropy(found, batch.labels, reduction="sum") / batch.mean_size)
        begin += len(batch.labels)
    return losses


def compute_loss(learner: Learner, batches: list[Batch]) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of compute_losses, as an engine calls it."""
    return learner.weighting(compute_losses(learner.network, batches)), {}


def iterate_evaluation(
    images: Tensor, targets: Tensor, noise: float, part: int = 0, parts: int = 1
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(number, prepared images, targets) of every batch whose number is `part` modulo `parts`; the noise of a batch is the
    same each time, whoever takes the others."""
    generator = torch.Generator().manual_seed(0)
    batches = zip(images.split(EVALUATION_BATCH), targets.split(EVALUATION_BATCH), strict=True)
    for number, (batch, labels) in enumerate(batches):
        is_wanted = number % parts == part
        prepared = prepare(batch, noise, generator, slice(None if is_wanted else 0))
        if is_wanted:
            yield number, prepared, labels


@torch.no_grad()
def evaluate(network: MultiTaskNetwork, images: Tensor, targets: Tensor, noise: float) -> dict[str, Any]:
    """Principal accuracy, mean loss and number of examples on images uint8 [N, H, W, C]; the noise is the same each time.

    Ranks share the batches, and the result is the same to the bit for any number of them.
    """
    network.eval()
    found = []
    for number, batch, labels in iterate_evaluation(images, targets, noise, rank(), world_size()):
        logits = network(batch)[0]
        loss = functional.cross_entropy(logits, labels, reduction="sum").double().item()
        found.append((number, int((logits.argmax(1) == labels).sum()), loss))
    network.train()
    parts = sorted(part for parts in gather_objects(found) for part in parts)
    return {
        "accuracy": sum(correct for _, correct, _ in parts) / len(targets),
        "loss": sum(loss for _, _, loss in parts) / len(targets),
        "examples": len(targets),
    }


def train_trial(
    trial: Trial,
    config: MultitaskConfig,
    data: TrainingData,
    validation: tuple[Tensor, Tensor],
    noise: float,
    check_stop: Callable[[], None] = lambda: None,
    engine_config: EngineConfig | None = None,
) -> tuple[MultiTaskNetwork, dict[str, Any], list[dict[str, Any]]]:
    """Train one trial; returns the network of its best epoch by validation accuracy (ties: lower loss), that epoch's
    validation row and the curve of all epochs.

    All ranks call it together and share every batch. `check_stop` is called after every epoch and may raise. Raises
    NonFiniteLossError where training diverged.
    """
    torch.manual_seed(trial.seed)
    device = data.images.device
    network = MultiTaskNetwork(config, data.images.shape[1], data.classes).to(device)
    network = network.to(memory_format=torch.channels_last)
    weighting = METHODS[trial.method](len(data.classes), trial.weight).to(device)
    groups: list[dict[str, Any]] = [{"params": list(network.parameters())}]
    if learned := list(weighting.parameters()):
        # decay would pull a learned weight towards 1; at the networks' rate it would hardly leave its start
        groups.append({"params": learned, "weight_decay": 0.0, "lr": WEIGHTING_LR_FACTOR * config.lr})
    optimizer = torch.optim.AdamW(groups, config.lr, weight_decay=config.weight_decay)
    engine = build_engine(engine_config or EngineConfig(), device)
    compute = engine.wrap(Learner(network, weighting), compute_loss, optimizer, clip=0.0, micro_batches=1)
    generator = torch.Generator().manual_seed(trial.seed)
    auxiliary_generator = torch.Generator().manual_seed(trial.seed + 1)
    labelled = data.labelled
    steps_per_epoch = int(np.ceil(len(labelled) / config.batch_size))
    epochs = max(config.epochs, -(-config.least_steps // steps_per_epoch))
    total = epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: compute_decay(config.decay, step, total))

    labelled_batches = iterate_batches(labelled, config.batch_size, generator)
    everything = torch.arange(len(data.images)) if config.auxiliary_on == "all" else labelled
    auxiliary_batches = iterate_batches(everything, config.batch_size, auxiliary_generator)
    best: dict[str, Any] = {}
    best_state: dict[str, Tensor] = {}
    curve = []
    network.train()
    for epoch in range(epochs):
        for _ in range(steps_per_epoch):
            batches = [_draw_principal(data, next(labelled_batches), noise, generator)]
            if len(data.classes) > 1:
                batches.append(_draw_auxiliary(trial, data, next(auxiliary_batches), noise, auxiliary_generator))
            loss, _ = compute(batches)
            engine.backward(loss)
            engine.step()
            schedule.step()
        check_stop()
        row = {"epoch": epoch + 1, **evaluate(network, *validation, noise)}
        if not (all(gather_objects(bool(torch.isfinite(loss)))) and np.isfinite(row["loss"])):
            raise tell_once(NonFiniteLossError((epoch + 1) * steps_per_epoch, [trial.name], "multitask.lr"))
        curve.append(row)
        if not best or (row["accuracy"], -row["loss"]) > (best["accuracy"], -best["loss"]):
            best, best_state = row, copy.deepcopy(network.state_dict())
    network.load_state_dict(best_state)
    return network, best, curve


def _draw_principal(data: TrainingData, index: Tensor, noise: float, generator: torch.Generator) -> Batch:
    part = take_part(len(index))
    images = prepare(data.images[index], noise, generator, part)
    return Batch(images, data.principal[index[part]], len(index) / world_size())


def _draw_auxiliary(trial: Trial, data: TrainingData, index: Tensor, noise: float, generator: torch.Generator) -> Batch:
    part = take_part(len(index))
    images = prepare(data.images[index], noise, generator, part)
    if trial.labels == ROTATION:
        turns = torch.randint(4, (len(index),), generator=generator)[part]
        return Batch(turn_images(images, turns), turns.to(images.device), len(index) / world_size())
    assert data.auxiliary is not None
    return Batch(images, data.auxiliary[index[part]], len(index) / world_size())
