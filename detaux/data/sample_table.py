"""The table that keeps decoded samples.

Letters: R rows of a table, n samples asked for, m images of a batch, F ground-truth factors, H W C image.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detaux.data.file_images import FileImages


@dataclass
class SampleTable:
    """Decoded samples, one a row.

    images uint8 [R, H, W, C] on any device, or in their files still; on the CPU: labels int64 [R], keys, factors int64
    [R, F] or None, and stand_ins int64 [R], the row shown in a row's place: itself where its sample is good, -1 where its
    block holds none.
    """

    images: Tensor | FileImages
    labels: Tensor
    keys: list[str]
    factors: Tensor | None
    stand_ins: np.ndarray

    @classmethod
    def blank(
        cls,
        rows: int,
        shape: tuple[int, int, int],
        factors: int,
        device: torch.device | None = None,
        *,
        in_files: bool = False,
    ) -> "SampleTable":
        """A table whose rows are all bad, their images anything; without factors where `factors` is 0."""
        images: Tensor | FileImages
        if in_files:
            images = FileImages(rows, shape)
        elif device is None or device.type == "cpu":
            # numpy asks the system for huge pages: a first touch in small ones takes longer than the copy
            images = torch.from_numpy(np.empty((rows, *shape), dtype=np.uint8))
        else:
            images = torch.empty(rows, *shape, dtype=torch.uint8, device=device)
        return cls(
            images=images,
            labels=torch.full((rows,), -1),
            keys=[""] * rows,
            factors=torch.full((rows, factors), -1) if factors else None,
            stand_ins=np.full(rows, -1),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent between processes as arrays, through a pipe: tensors would lie in shared memory, of which a container has little,
        and a block that finds no room there is lost without a word."""
        images = self.images.numpy() if isinstance(self.images, Tensor) else self.images
        factors = None if self.factors is None else self.factors.numpy()
        return _unpack, (images, self.labels.numpy(), self.keys, factors, self.stand_ins)

    @property
    def is_good(self) -> np.ndarray:
        """Which rows hold a sample that could be read, [R] bool."""
        return self.stand_ins == np.arange(len(self.stand_ins))

    def put(self, row: int, part: "SampleTable") -> None:
        """Copy the rows of `part`, whose images are kept as those here, to the rows from `row` on."""
        end = row + len(part.keys)
        if isinstance(self.images, Tensor):
            assert isinstance(part.images, Tensor)
            self.images[row:end] = part.images
        else:
            assert isinstance(part.images, FileImages)
            self.images.put(row, part.images)
        self.labels[row:end] = part.labels
        self.keys[row:end] = part.keys
        self.stand_ins[row:end] = np.where(part.stand_ins < 0, -1, part.stand_ins + row)
        if self.factors is not None and part.factors is not None:
            self.factors[row:end] = part.factors

    def take(self, rows: Tensor) -> Tensor:
        """Images of the rows [n], uint8 [n, H, W, C], on the device of the table; of images in files, on the CPU."""
        if isinstance(self.images, Tensor):
            # index_select copies whole images; indexing with [] would copy byte by byte
            return self.images.index_select(0, rows.to(self.images.device))
        batch = torch.empty(len(rows), *self.images.shape[1:], dtype=torch.uint8)
        self.images.fill(batch, torch.arange(len(rows)), rows)
        return batch

    def fill(self, batch: Tensor, targets: Tensor, rows: Tensor) -> None:
        """Copy the images of the rows [n] to `batch` [m, H, W, C], on the CPU as they are, at `targets` [n]."""
        if isinstance(self.images, Tensor):
            # index_copy_ takes thirty times as long
            batch.numpy()[targets.numpy()] = self.images.index_select(0, rows).numpy()
        else:
            self.images.fill(batch, targets, rows)


def _unpack(
    images: np.ndarray | FileImages,
    labels: np.ndarray,
    keys: list[str],
    factors: np.ndarray | None,
    stand_ins: np.ndarray,
) -> SampleTable:
    return SampleTable(
        images=torch.from_numpy(images) if isinstance(images, np.ndarray) else images,
        labels=torch.from_numpy(labels),
        keys=keys,
        factors=None if factors is None else torch.from_numpy(factors),
        stand_ins=stand_ins,
    )
