"""Prepare images for a network. All stages turn stored bytes into floats here, a batch at a time, on the device.

N images of a batch, H W height and width, C channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from detaux.data.augment import change_colours, move_images, remove_noise, salt_images, to_float

BATCH_BYTES = 24 * 2**20  # most bytes of a batch as floats: 512 images of 64 pixels, 41 of 224


def prepare_images(
    images_NHWC: Tensor,
    device: torch.device | None = None,
    *,
    moves_N3: Tensor | None = None,
    colours_N3: Tensor | None = None,
    noise: float = 0.0,
    draw: Callable[[], Tensor] | None = None,
    denoise: bool = False,
) -> Tensor:
    """Turn uint8 [N, H, W, C] into float [N, C, H, W] in [0, 1], channels last: move, colour, add noise, remove noise.

    Images go to `device`, or stay on theirs if it is None. moves_N3 come from draw_moves and colours_N3 from
    draw_colours; without them no image is moved or coloured. With `noise`, `draw` is called once and gives the numbers
    [N, H, W] for salt_images. `denoise` removes that noise again, as far as a picture shows it.
    """
    images_NHWC = images_NHWC if device is None else images_NHWC.to(device)
    if moves_N3 is not None:
        images_NHWC = move_images(images_NHWC, moves_N3)
    images_NCHW = to_float(images_NHWC).contiguous(memory_format=torch.channels_last)
    if colours_N3 is not None:
        images_NCHW = change_colours(images_NCHW, colours_N3)
    if noise == 0:
        return images_NCHW
    assert draw is not None
    salted_NCHW = salt_images(images_NCHW, noise, draw())
    return remove_noise(salted_NCHW) if denoise else salted_NCHW


def fit_batch(most: int, shape: torch.Size, budget: int = BATCH_BYTES) -> int:
    """Return how many images of `shape` [N, H, W, C] to prepare at once: at most `most`, of at most `budget` bytes.

    The bytes count images as floats. The result is at least one image.
    """
    return max(1, min(most, budget // (4 * shape[1:].numel())))
