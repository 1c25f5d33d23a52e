"""Turn images by quarter turns; their number is the label of the rotation control (Gidaris et al., ICLR 2018)."""

import torch
from torch import Tensor

from detaux.data.augment import turn_images


def draw_turned(images: Tensor, size: int, rows: slice | Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn the images [b, C, S, S], some rows of a batch of `size`. Return them and their numbers of turns [b].

    The turns are drawn for the whole batch, so that they do not depend on the rows.
    """
    turns = torch.randint(4, (size,), generator=generator)[rows]
    return turn_images(images, turns), turns.to(images.device)
