"""Measure what a careful engineer looks at first: colours, light, sharpness, and the object before its ground.

N images, n images of a batch, C channels, H W height and width, D size of a statistic.
"""

import torch
from torch import Tensor
from torch.nn import functional

from detaux.data.augment import to_float
from detaux.data.draws import seed_generator
from detaux.data.prepare import fit_batch

BATCH = 512  # images at most
HUES = 12  # parts of the circle of hues
LEAST_CHROMA = 0.02  # largest less smallest channel; a greyer colour has no hue
LEAST_CONTRAST = 8 / 255  # distance from the ground; a picture that differs less from it has no foreground
DECIMALS = 6  # kept of float64, so that no clusters are found in the rounding errors of a statistic that is constant
GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in the light that an eye sees (ITU-R BT.601)


def measure_images(images_NHWC: Tensor) -> dict[str, Tensor]:
    """Return the statistics of pictures uint8 [N, H, W, C] with one or three channels, each float32 [N, D], by name.

    Colours, light and chroma are in [0, 1], places in [0, 1] from the upper left corner, and sizes are shares of the
    picture.

    mean_colour        mean of each channel
    hue                angle of the mean colour on the circle of hues, as its cosine and sine; 0, 0 if it is grey
    hue_histogram      share of the chroma of all pixels in each of HUES parts of the circle of hues
    saturation         mean over pixels of the largest less the smallest channel (chroma)
    brightness         mean grey
    contrast           standard deviation of the grey
    sharpness          mean difference of the grey between neighbouring pixels, over the contrast
    border_colour      median of each channel along the four edges: the ground
    foreground_colour  mean of each channel over the foreground
    foreground_size    share of the foreground
    foreground_place   mean place of the foreground, right and down

    The foreground is all pixels that differ from the border colour more than half as much as the farthest pixel.
    """
    size, parts = fit_batch(BATCH, images_NHWC.shape), []
    for images in images_NHWC.split(size):
        images_nCHW = to_float(images).double()
        parts.append(_measure_batch(images_nCHW.expand(-1, 3, -1, -1) if images.shape[3] == 1 else images_nCHW))
    return {name: torch.cat([part[name] for part in parts]).round(decimals=DECIMALS).float() for name in parts[0]}


def _measure_batch(images_nCHW: Tensor) -> dict[str, Tensor]:
    grey_nHW = torch.einsum("nchw,c->nhw", images_nCHW, images_nCHW.new_tensor(GREY))
    contrast_n1 = grey_nHW.flatten(1).std(1, correction=0, keepdim=True)
    steps_n1 = sum(grey_nHW.diff(dim=axis).abs().flatten(1).mean(1, keepdim=True) for axis in (1, 2))
    mean_nC = images_nCHW.mean((2, 3))
    return {
        "mean_colour": mean_nC,
        "hue": point_at_hue(mean_nC),
        "hue_histogram": _count_hues(images_nCHW),
        "saturation": _measure_chroma(images_nCHW).flatten(1).mean(1, keepdim=True),
        "brightness": grey_nHW.flatten(1).mean(1, keepdim=True),
        "contrast": contrast_n1,
        "sharpness": torch.where(contrast_n1 > 0, steps_n1 / (2 * contrast_n1), 0.0),
        **_measure_foreground(images_nCHW),
    }


def _measure_chroma(colours: Tensor) -> Tensor:
    """Return the largest less the smallest channel of colours [n, C, ...]: [n, ...]."""
    return colours.amax(1) - colours.amin(1)


def measure_hue(colours: Tensor) -> Tensor:
    """Return the angle of colours [n, 3, ...] on the circle of hues in radians [n, ...]: red 0, green 2 pi / 3."""
    red, green, blue = colours.unbind(1)
    return torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue)


def point_at_hue(colours_n3: Tensor) -> Tensor:
    """Return the cosine and sine [n, 2] of the hue of colours, or 0 for a colour without a hue."""
    angle_n = measure_hue(colours_n3)
    points_n2 = torch.stack([angle_n.cos(), angle_n.sin()], 1)
    return torch.where(_measure_chroma(colours_n3)[:, None] >= LEAST_CHROMA, points_n2, 0.0)


def _count_hues(images_nCHW: Tensor) -> Tensor:
    """Return the share of the chroma in each part of the circle of hues, [n, HUES]. Part 0 has red in its middle."""
    place_nHW = (measure_hue(images_nCHW) * HUES / (2 * torch.pi)).round().long() % HUES
    chroma_nHW = _measure_chroma(images_nCHW)
    chroma_nHW = torch.where(chroma_nHW >= LEAST_CHROMA, chroma_nHW, 0.0)
    held_nK = images_nCHW.new_zeros(len(images_nCHW), HUES)
    held_nK.scatter_add_(1, place_nHW.flatten(1), chroma_nHW.flatten(1))
    return functional.normalize(held_nK, p=1, dim=1)


def _measure_foreground(images_nCHW: Tensor) -> dict[str, Tensor]:
    """Return the statistics of the ground and of the object before it; without an object its colour is the ground's."""
    height, width = images_nCHW.shape[2:]
    edges = [images_nCHW[:, :, 0], images_nCHW[:, :, -1], images_nCHW[:, :, 1:-1, 0], images_nCHW[:, :, 1:-1, -1]]
    border_nC = torch.cat(edges, 2).median(2).values
    distance_nHW = (images_nCHW - border_nC[:, :, None, None]).norm(dim=1)
    farthest_n11 = distance_nHW.amax((1, 2), keepdim=True)
    is_object_nHW = (distance_nHW > farthest_n11 / 2) & (farthest_n11 > LEAST_CONTRAST)
    weight_nHW = is_object_nHW.to(images_nCHW.dtype)
    count_n1 = weight_nHW.sum((1, 2))[:, None]
    right_W = (torch.arange(width, device=images_nCHW.device) + 0.5) / width
    down_H = (torch.arange(height, device=images_nCHW.device) + 0.5) / height
    sums_n2 = torch.stack([(weight_nHW.sum(1) * right_W).sum(1), (weight_nHW.sum(2) * down_H).sum(1)], 1)
    colour_nC = torch.einsum("nchw,nhw->nc", images_nCHW, weight_nHW) / count_n1.clamp_min(1)
    return {
        "border_colour": border_nC,
        "foreground_colour": torch.where(count_n1 > 0, colour_nC, border_nC),
        "foreground_size": count_n1 / (height * width),
        "foreground_place": torch.where(count_n1 > 0, sums_n2 / count_n1.clamp_min(1), 0.5),
    }


def dither(statistics: dict[str, Tensor], shape: torch.Size, seed: int) -> dict[str, Tensor]:
    """Add uniform noise of one step to the statistics of pictures of `shape` [N, H, W, C] that come in whole steps.

    Otherwise each step with enough pictures would be a cluster of points that coincide, better separated than any
    other: the sizes of handwritten digits had 28. A number that is the same in all images stays the same. The noise
    depends on the seed and the place of a picture.
    """
    height, width = shape[1:3]
    steps = {
        "border_colour": (1 / 255, 1 / 255, 1 / 255),
        "foreground_size": (1 / (height * width),),
        "foreground_place": (1 / width, 1 / height),
    }
    generator, dithered = seed_generator(seed), dict(statistics)
    for name, step_D in steps.items():
        values_ND = statistics[name]
        noise_ND = (torch.rand(values_ND.shape, generator=generator) - 0.5) * torch.tensor(step_D)
        is_same_D = values_ND.amax(0) == values_ND.amin(0)
        dithered[name] = torch.where(is_same_D, values_ND, values_ND + noise_ND.to(values_ND.device))
    return dithered


def standardise(statistics: dict[str, Tensor]) -> Tensor:
    """Return all statistics side by side [N, D], each number with mean 0 and variance 1 over the images.

    A number that is the same in all images is left out, so that D may be 0.
    """
    points_ND = torch.cat(list(statistics.values()), 1).double()
    points_ND = points_ND[:, points_ND.amax(0) > points_ND.amin(0)]
    centred_ND = points_ND - points_ND.mean(0)
    return (centred_ND / centred_ND.square().mean(0).sqrt()).float()
