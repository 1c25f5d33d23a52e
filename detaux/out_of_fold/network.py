"""Define the small network that recognises clusters, and the pictures that it sees.

N images, C channels, S side in pixels, k classes.
"""

from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from detaux.data.draws import draw_picture_noise
from detaux.data.image_rows import Images
from detaux.data.prepare import fit_batch, prepare_images

MOST_SIDE = 64  # pixels; larger pictures are averaged down to it
MAP_SIDE = 4  # largest side of the last map
WIDTHS = (16, 32, 64, 64)  # channels of the maps; four halvings bring MOST_SIDE to MAP_SIDE
DROPOUT = 0.3
PLACELESS = 0.5  # share of the images of a training step whose last map loses its places
BATCH = 512  # images at most

ImagesT = TypeVar("ImagesT", bound=Images)


class ForgetPlaces(nn.Module):
    """Fill the map of some images with its mean in training: each image at random with probability `share`.

    A network that is read with whole maps then knows places, but also clusters that look alike wherever they are.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        """Return maps of the same shape; outside of training they are the same."""
        if not self.training:
            return maps_NCHW
        forgets_N = torch.rand(len(maps_NCHW), 1, 1, 1, device=maps_NCHW.device) < self.share
        return torch.where(forgets_N, maps_NCHW.mean((2, 3), keepdim=True), maps_NCHW)


def build_network(side: int, channels: int, classes: int) -> nn.Module:
    """Build a network from images [N, C, S, S] in [0, 1] to logits [N, k].

    Convolutions halve the map until its side is at most MAP_SIDE. The last map is flattened, so that the network knows
    places; a global mean would forget them. In training ForgetPlaces often hides them.
    """
    layers: list[nn.Module] = []
    width, widths = channels, iter(WIDTHS)
    while side > MAP_SIDE:
        before, width = width, next(widths)
        layers += [nn.Conv2d(before, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU()]
        side = (side + 1) // 2
    head = [ForgetPlaces(PLACELESS), nn.Flatten(), nn.Dropout(DROPOUT), nn.Linear(width * side * side, classes)]
    return nn.Sequential(*layers, *head)


def shrink_images(images_NHWC: ImagesT, noise: float, denoise: bool, seed: int) -> ImagesT | Tensor:
    """Return pictures uint8 [N, S, S, C] with S of at most MOST_SIDE, in the form in which the encoder embeds them.

    `noise` and `denoise` are those of the config. The noise of a picture depends on the seed and on its place. Pictures
    without noise that are small enough are returned as they are.
    """
    side = images_NHWC.shape[1]
    if noise == 0 and side <= MOST_SIDE:
        return images_NHWC
    draw, size = (
        draw_picture_noise(images_NHWC.shape, seed),
        fit_batch(BATCH, images_NHWC.shape),
    )
    parts = []
    for begin in range(0, len(images_NHWC), size):
        rows = range(begin, min(begin + size, len(images_NHWC)))
        images_NCHW = prepare_images(
            images_NHWC[torch.arange(rows.start, rows.stop)], noise=noise, draw=partial(draw, rows), denoise=denoise
        )
        if side > MOST_SIDE:
            images_NCHW = functional.adaptive_avg_pool2d(images_NCHW, MOST_SIDE)
        parts.append((255 * images_NCHW).round().to(torch.uint8).permute(0, 2, 3, 1))
    return torch.cat(parts)
