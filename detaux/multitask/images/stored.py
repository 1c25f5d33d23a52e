"""The images of a split, prepared for the network."""

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
    """Turn one part of a batch, uint8 [B, H, W, C], into floats [b, C, H, W], channels last, moved and with the data's noise.

    Images move by up to `crop` pixels and flip by chance. All numbers are drawn for the whole batch, so that they do not
    depend on the parts.
    """
    moves = draw_moves(len(images), crop, flip, generator)

    def draw() -> Tensor:
        return torch.rand(images.shape[:3], generator=generator, device=generator.device)[part]

    return prepare_images(images[part], moves_N3=None if moves is None else moves[part], noise=noise, draw=draw)
