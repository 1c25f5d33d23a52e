"""Make the batches of training and evaluation: seeded passes over images, with each batch split over the ranks."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from detaux.data.prepare import fit_batch
from detaux.data.recombined import RecombinedImages
from detaux.multitask.images.augmentation import NO_AUGMENTATION, Augmentation
from detaux.multitask.images.mixed import draw_mix, mix, mix_labels
from detaux.multitask.images.stored import prepare
from detaux.multitask.images.turned import draw_turned
from detaux.runtime.collectives import take_part
from detaux.runtime.ranks import world_size

EVALUATION_BATCH = 512  # images at most


@dataclass(frozen=True)
class TrainingData:
    """Hold what a trial trains on.

    `images` are uint8 [N, H, W, C]. `principal` are labels [N], -1 if an image has none. `auxiliary` are labels [N], or
    None if there are none or the labels are the quarter turns of the images. `classes` is the number of classes of each
    task, the principal one first. `noise` is the fraction of noisy pixels. `recombined` images take a share of the
    batches with principal labels; they keep the auxiliary label of the image whose code they have.
    """

    images: Tensor
    principal: Tensor
    auxiliary: Tensor | None
    classes: list[int]
    noise: float
    augmentation: Augmentation = NO_AUGMENTATION
    recombined: RecombinedImages | None = None

    @property
    def everything(self) -> Tensor:
        """Return the indices of all images."""
        return torch.arange(len(self.images))

    @property
    def labelled(self) -> Tensor:
        """Return the indices of the images with a principal label."""
        return torch.nonzero(self.principal.cpu() >= 0).squeeze(1)


@dataclass(frozen=True)
class Stream:
    """Describe batches that a method asks for.

    `tasks` are the tasks with labels in the batches (0 is the principal one). Images are drawn from `indices`.
    `is_recombined` says whether recombined images may take a share, and `held_out` which images give none.
    """

    tasks: tuple[int, ...]
    indices: Tensor
    is_recombined: bool = True
    held_out: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))


@dataclass(frozen=True)
class TaskBatch:
    """Hold a rank's part of a batch: images [b, C, S, S], and the labels of each task.

    Labels are classes [b] or, if images are mixed, probabilities [b, classes].

    `mean_size` is the size of the whole batch divided by the number of ranks. If each rank divides its sum by it, the
    mean over ranks equals the mean over the whole batch.
    """

    images: Tensor
    labels: dict[int, Tensor]
    mean_size: float


def iterate_passes(indices: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield endless seeded passes over `indices` in batches; the last batch of a pass may be smaller.

    It has two images or more, unless there is only one: batch normalisation cannot train on one.
    """
    sizes = [batch_size] * (len(indices) // batch_size)
    if rest := len(indices) % batch_size:
        sizes.append(rest)
    if rest == 1 and batch_size > 1 and len(sizes) > 1:
        sizes[-2:] = [batch_size - 1, 2] if batch_size > 2 else [3]
    while True:
        yield from indices[torch.randperm(len(indices), generator=generator)].split(sizes)


def iterate_stream(data: TrainingData, stream: Stream, batch_size: int, seed: int) -> Iterator[TaskBatch]:
    """Yield endless batches of a stream. Every rank draws order, noise and turns for whole batches, so all agree."""
    generator = torch.Generator().manual_seed(seed)
    made, places = data.recombined, None
    if made is not None and 0 in stream.tasks and stream.is_recombined:
        places = made.list_without(stream.held_out)
    for index in iterate_passes(stream.indices, batch_size, generator):
        yield _draw_batch(data, stream.tasks, index, places, generator)


def _draw_batch(
    data: TrainingData, tasks: tuple[int, ...], index: Tensor, places: Tensor | None, generator: torch.Generator
) -> TaskBatch:
    size, weight = len(index), 1.0
    rows = torch.arange(size)[take_part(size)]
    batch, principal, auxiliary = _gather(data, index, places, generator)
    if data.augmentation.mixup > 0:
        partners, weight = draw_mix(size, data.augmentation.mixup, generator)
        rows = torch.cat([rows, partners[rows]])
    images = prepare(batch, data.noise, generator, rows, data.augmentation)
    labels = {}
    for task in tasks:
        if task == 0:
            labels[task] = principal[rows]
        elif auxiliary is not None:
            labels[task] = auxiliary[rows]
        elif len(tasks) > 1:  # else images that carry labels of another task would be turned too
            raise ValueError(f"task {task} is the turn of an image and needs a stream of its own; found tasks {tasks}")
        else:
            images, labels[task] = draw_turned(images, size, rows, generator)
    if data.augmentation.mixup > 0:
        images = mix(images, weight)
        labels = {task: mix_labels(found, data.classes[task], weight) for task, found in labels.items()}
    return TaskBatch(images, labels, size / world_size())


def _gather(
    data: TrainingData, index: Tensor, places: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the images [B, H, W, C] at `index`, their principal labels [B], and their auxiliary ones [B] or None.

    Recombined images, drawn among `places`, take the first places of the batch, since the order of `index` is random.
    """
    images, principal = data.images[index], data.principal[index]
    auxiliary = None if data.auxiliary is None else data.auxiliary[index]
    recombined = data.recombined
    if recombined is None or places is None:
        return images, principal, auxiliary
    drawn = recombined.draw(len(index), places, generator)
    images[: len(drawn)], principal[: len(drawn)] = recombined.images[drawn], recombined.labels[drawn]
    if auxiliary is not None and data.auxiliary is not None:
        auxiliary[: len(drawn)] = data.auxiliary[recombined.donors[drawn]]
    return images, principal, auxiliary


def iterate_evaluation(
    images: Tensor, targets: Tensor, noise: float, part: int = 0, parts: int = 1
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield (number, prepared images, targets) of every batch with a number that is `part` modulo `parts`.

    A batch has the same noise each time, for any `parts`. Images are not moved.
    """
    generator, size = torch.Generator().manual_seed(0), fit_batch(EVALUATION_BATCH, images.shape)
    batches = zip(images.split(size), targets.split(size), strict=True)
    for number, (batch, labels) in enumerate(batches):
        is_wanted = number % parts == part
        prepared = prepare(batch, noise, generator, slice(None if is_wanted else 0))
        if is_wanted:
            yield number, prepared, labels
