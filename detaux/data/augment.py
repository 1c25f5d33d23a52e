"""Batched image preparation on the device."""

import torch
from torch import Tensor
from torch.nn import functional


def to_float(images_NHWC: Tensor) -> Tensor:
    """uint8 [N, H, W, C] to float32 [N, C, H, W] in [0, 1]."""
    return images_NHWC.permute(0, 3, 1, 2).float().div_(255)


def add_noise(images_NCHW: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """salt_images with a draw made on the generator's device, so that one CPU generator gives every device the same noise."""
    shape = (images_NCHW.shape[0], *images_NCHW.shape[2:])
    return salt_images(images_NCHW, share, torch.rand(shape, generator=generator, device=generator.device))


def salt_images(images_NCHW: Tensor, share: float, draw_NHW: Tensor) -> Tensor:
    """Salt and pepper (paper, section 5.1): a share of the pixels turns white (1) or black (0) with equal chance.

    draw_NHW [N, H, W] is uniform in [0, 1), on any device. All channels of a pixel turn together; the other pixels are
    left exactly as they are.
    """
    draw = draw_NHW[:, None].to(images_NCHW.device)
    salted = torch.where(draw < share / 2, 1.0, images_NCHW)
    return torch.where((draw >= share / 2) & (draw < share), 0.0, salted)


def remove_noise(images_NCHW: Tensor) -> Tensor:
    """Images in [0, 1] with every pixel that is black or white in all channels replaced by the mean of those of its eight
    neighbours that are neither; it stays where there are none."""
    is_extreme = ((images_NCHW == 0) | (images_NCHW == 1)).all(1, keepdim=True)
    kept = (~is_extreme).to(images_NCHW.dtype)
    means = functional.avg_pool2d(images_NCHW * kept, 3, 1, padding=1)
    shares = functional.avg_pool2d(kept, 3, 1, padding=1)
    return torch.where(is_extreme & (shares > 0), means / shares.clamp_min(1 / 18), images_NCHW)
