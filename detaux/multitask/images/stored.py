"""The images of a split, prepared for the network."""

import torch
from torch import Tensor

from detaux.data.augment import salt_images, to_float


def prepare(images: Tensor, noise: float, generator: torch.Generator, part: slice = slice(None)) -> Tensor:
    """Turn one part of a batch, uint8 [B, H, W, C], into floats [b, C, H, W], channels last, with the data's noise.

    The noise is drawn for the whole batch, so that it does not depend on the parts.
    """
    floats = to_float(images[part]).contiguous(memory_format=torch.channels_last)
    if noise == 0:
        return floats
    draw = torch.rand(images.shape[:3], generator=generator, device=generator.device)
    return salt_images(floats, noise, draw[part])
