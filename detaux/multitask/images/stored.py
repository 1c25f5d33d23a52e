"""Prepare the images of a split for the network."""

import torch
from torch import Tensor

from detaux.data.augment import draw_colours, draw_moves
from detaux.data.prepare import prepare_images
from detaux.multitask.images.augmentation import NO_AUGMENTATION, Augmentation


def prepare(
    images: Tensor,
    noise: float,
    generator: torch.Generator,
    rows: slice | Tensor = slice(None),
    augmentation: Augmentation = NO_AUGMENTATION,
) -> Tensor:
    """Turn some rows of a batch, uint8 [B, H, W, C], into floats [b, C, H, W], channels last, augmented and noisy.

    `noise` is the fraction of noisy pixels. All numbers are drawn for the whole batch, so that they do not depend on
    the rows.
    """
    moves = draw_moves(len(images), augmentation.crop, augmentation.flip, generator)
    colours = draw_colours(len(images), augmentation.colour, generator)

    def draw() -> Tensor:
        return torch.rand(images.shape[:3], generator=generator, device=generator.device)[rows]

    return prepare_images(
        images[rows],
        moves_N3=None if moves is None else moves[rows],
        colours_N3=None if colours is None else colours[rows],
        noise=noise,
        draw=draw,
    )
