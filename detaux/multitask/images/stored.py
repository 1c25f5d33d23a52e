"""Prepare the images of a split for the network."""

import torch
from torch import Tensor

from detaux.data.augment import draw_moves
from detaux.data.prepare import prepare_images


def prepare(
    images: Tensor,
    noise: float,
    generator: torch.Generator,
    part: slice = slice(None),
    *,
    crop: int = 0,
    flip: bool = False,
) -> Tensor:
    """Turn one part of a batch, uint8 [B, H, W, C], into floats [b, C, H, W], channels last, moved and noisy.

    Images move at random by up to `crop` pixels, and flip at random if `flip`. `noise` is the fraction of noisy pixels.
    All numbers are drawn for the whole batch, so that they do not depend on the part.
    """
    moves = draw_moves(len(images), crop, flip, generator)

    def draw() -> Tensor:
        return torch.rand(images.shape[:3], generator=generator, device=generator.device)[part]

    return prepare_images(images[part], moves_N3=None if moves is None else moves[part], noise=noise, draw=draw)
