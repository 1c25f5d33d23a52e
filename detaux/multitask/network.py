"""The multi-task network and one trial of training it."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detaux.config.schema import MultitaskConfig
from detaux.data.augment import add_noise, to_float
from detaux.errors import NonFiniteLossError
from detaux.multitask.backbones import build_backbone
from detaux.multitask.heads import build_head
from detaux.multitask.labels import ROTATION
from detaux.multitask.methods import METHODS

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
        self.backbone = build_backbone(config.backbone, side, config.pretrained)
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


def prepare(images: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """uint8 [B, H, W, C] to float [B, C, H, W], channels last, with the data's noise."""
    floats = to_float(images).contiguous(memory_format=torch.channels_last)
    return add_noise(floats, noise, generator) if noise > 0 else floats


def turn_images(images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images [B, C, S, S] each turned by a random number of quarter turns, and that number [B]."""
    turns = torch.randint(4, (len(images),), generator=generator)
    turned = torch.stack([image.rot90(int(turn), (1, 2)) for image, turn in zip(images, turns, strict=True)])
    return turned, turns.to(images.device)


def compute_losses(
    network: MultiTaskNetwork, images: Tensor, targets: Tensor, auxiliary: tuple[Tensor, Tensor] | None
) -> list[Tensor]:
    """Cross-entropies: the principal one on images with principal labels, the auxiliary one on its own images, which pass
    the backbone in the same batch."""
    if auxiliary is None:
        return [functional.cross_entropy(network(images)[0], targets)]
    logits = network(torch.cat([images, auxiliary[0]]))
    count = len(images)
    return [
        functional.cross_entropy(logits[0][:count], targets),
        functional.cross_entropy(logits[1][count:], auxiliary[1]),
    ]


@torch.no_grad()
def evaluate(network: MultiTaskNetwork, images: Tensor, targets: Tensor, noise: float) -> dict[str, Any]:
    """Principal accuracy, mean loss and number of examples on images uint8 [N, H, W, C]; the noise is the same each time."""
    network.eval()
    generator = torch.Generator().manual_seed(0)
    logits = torch.cat([network(prepare(part, noise, generator))[0] for part in images.split(EVALUATION_BATCH)])
    network.train()
    return {
        "accuracy": float((logits.argmax(1) == targets).double().mean()),
        "loss": float(functional.cross_entropy(logits, targets)),
        "examples": len(targets),
    }


def train_trial(
    trial: Trial,
    config: MultitaskConfig,
    data: TrainingData,
    validation: tuple[Tensor, Tensor],
    noise: float,
    check_stop: Callable[[], None] = lambda: None,
) -> tuple[MultiTaskNetwork, dict[str, Any], list[dict[str, Any]]]:
    """Train one trial; returns the network of its best epoch by validation accuracy (ties: lower loss), that epoch's
    validation row and the curve of all epochs.

    `check_stop` is called after every epoch and may raise. Raises NonFiniteLossError where training diverged.
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
    generator = torch.Generator().manual_seed(trial.seed)
    auxiliary_generator = torch.Generator().manual_seed(trial.seed + 1)
    labelled = data.labelled
    steps_per_epoch = int(np.ceil(len(labelled) / config.batch_size))
    epochs = max(config.epochs, -(-config.least_steps // steps_per_epoch))
    total = epochs * steps_per_epoch
    shape = (lambda step: 0.5 * (1 + np.cos(np.pi * step / total))) if config.decay == "cosine" else (lambda step: 1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, shape)

    labelled_batches = iterate_batches(labelled, config.batch_size, generator)
    everything = torch.arange(len(data.images)) if config.auxiliary_on == "all" else labelled
    auxiliary_batches = iterate_batches(everything, config.batch_size, auxiliary_generator)
    best: dict[str, Any] = {}
    best_state: dict[str, Tensor] = {}
    curve = []
    network.train()
    for epoch in range(epochs):
        for _ in range(steps_per_epoch):
            index = next(labelled_batches)
            images = prepare(data.images[index], noise, generator)
            auxiliary = None
            if len(data.classes) > 1:
                auxiliary = _draw_auxiliary(trial, data, next(auxiliary_batches), noise, auxiliary_generator)
            loss = weighting(compute_losses(network, images, data.principal[index], auxiliary))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        check_stop()
        row = {"epoch": epoch + 1, **evaluate(network, *validation, noise)}
        if not (torch.isfinite(loss) and np.isfinite(row["loss"])):
            raise NonFiniteLossError((epoch + 1) * steps_per_epoch, [trial.name], "multitask.lr")
        curve.append(row)
        if not best or (row["accuracy"], -row["loss"]) > (best["accuracy"], -best["loss"]):
            best, best_state = row, copy.deepcopy(network.state_dict())
    network.load_state_dict(best_state)
    return network, best, curve


def _draw_auxiliary(
    trial: Trial, data: TrainingData, index: Tensor, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    images = prepare(data.images[index], noise, generator)
    if trial.labels == ROTATION:
        return turn_images(images, generator)
    assert data.auxiliary is not None
    return images, data.auxiliary[index]
