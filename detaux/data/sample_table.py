"""Keep decoded samples in a table, one a row.

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
    """Hold decoded samples, one a row.

    images uint8 [R, H, W, C] on any device, or still in their files. On the CPU: labels int64 [R], keys, factors int64
    [R, F] or None, and stand_ins int64 [R], the row that is shown in a row's place. It is the row itself if its sample
    is good, and -1 if its block holds no good sample.
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
        """Make a table with only bad rows and arbitrary images. It has no factors if `factors` is 0."""
        images: Tensor | FileImages
        if in_files:
            images = FileImages(rows, shape)
        elif device is None or device.type == "cpu":
            # numpy asks the system for huge pages: the first touch of small pages takes longer than the copy
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
        """Send the table between processes as arrays, through a pipe.

        Tensors would go into shared memory. A container has little of it, and a block that does not fit is lost without
        an error.
        """
        images = self.images.numpy() if isinstance(self.images, Tensor) else self.images
        factors = None if self.factors is None else self.factors.numpy()
        return _unpack, (images, self.labels.numpy(), self.keys, factors, self.stand_ins)

    @property
    def is_good(self) -> np.ndarray:
        """Return which rows hold a sample that could be read, bool [R]."""
        return self.stand_ins == np.arange(len(self.stand_ins))

    def put(self, row: int, part: "SampleTable") -> None:
        """Copy the rows of `part` to the rows from `row` on. Both tables keep images in the same way."""
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
        """Return the images of rows [n], uint8 [n, H, W, C], on the table's device, or the CPU if read from files."""
        if isinstance(self.images, Tensor):
            # index_select copies whole images; indexing with [] would copy byte by byte
            return self.images.index_select(0, rows.to(self.images.device))
        batch = torch.empty(len(rows), *self.images.shape[1:], dtype=torch.uint8)
        self.images.fill(batch, torch.arange(len(rows)), rows)
        return batch

    def fill(self, batch: Tensor, targets: Tensor, rows: Tensor) -> None:
        """Copy the images of the rows [n] to `batch` [m, H, W, C] at `targets` [n]. Batch and table are on the CPU."""
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
