"""Read images only when a batch takes them, so that memory never has to hold them all.

P images, H W height and width, C channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Images(Protocol):
    """Describe what code that reads images batch by batch needs. A tensor uint8 [P, H, W, C] has all of it."""

    @property
    def shape(self) -> torch.Size: ...

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class ImageRows:
    """Show P images without holding them: `take` returns those at any rows [n], uint8 [n, H, W, C] on `device`."""

    take: Callable[[Tensor], Tensor]
    shape: torch.Size
    device: torch.device

    @classmethod
    def select(cls, images: Tensor, rows_P: Tensor) -> "ImageRows":
        """Show some rows of a tensor without copying them."""
        shape = torch.Size((len(rows_P), *images.shape[1:]))
        return cls(lambda rows: images[rows_P[rows.cpu()].to(images.device)], shape, images.device)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        return self.take(rows)
