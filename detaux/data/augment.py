"""Change batches of images on the device. The caller draws the random numbers."""

import torch
from torch import Tensor
from torch.nn import functional


def to_float(images_NHWC: Tensor) -> Tensor:
    """Turn uint8 [N, H, W, C] into float32 [N, C, H, W] in [0, 1]."""
    return images_NHWC.permute(0, 3, 1, 2).float().div_(255)


def salt_images(images_NCHW: Tensor, share: float, draw_NHW: Tensor) -> Tensor:
    """Add salt and pepper (paper, section 5.1): a share of the pixels turns white (1) or black (0) with equal chance.

    draw_NHW [N, H, W] is uniform in [0, 1), on any device. All channels of a pixel turn together. The other pixels keep
    their values.
    """
    draw = draw_NHW[:, None].to(images_NCHW.device)
    salted = torch.where(draw < share / 2, 1.0, images_NCHW)
    return torch.where((draw >= share / 2) & (draw < share), 0.0, salted)


def remove_noise(images_NCHW: Tensor) -> Tensor:
    """Remove salt and pepper from images in [0, 1]: replace each extreme pixel by the mean of its good neighbours.

    A pixel is extreme if each of its channels is 0 or 1. Good neighbours are those of its eight that are not extreme. A
    pixel without any keeps its value.
    """
    is_extreme = ((images_NCHW == 0) | (images_NCHW == 1)).all(1, keepdim=True)
    kept = (~is_extreme).to(images_NCHW.dtype)
    means = functional.avg_pool2d(images_NCHW * kept, 3, 1, padding=1)
    shares = functional.avg_pool2d(kept, 3, 1, padding=1)
    return torch.where(is_extreme & (shares > 0), means / shares.clamp_min(1 / 18), images_NCHW)


def draw_moves(count: int, crop: int, flip: bool, generator: torch.Generator) -> Tensor | None:
    """Draw a move for each of `count` images, int64 [count, 3].

    A move is: pixels down and pixels to the right, both in -crop .. crop, and whether left and right change places. If
    images are neither cropped nor flipped, return None and draw nothing.
    """
    if crop == 0 and not flip:
        return None
    shifts = torch.randint(-crop, crop + 1, (count, 2), generator=generator)
    return torch.cat([shifts, torch.randint(1 + flip, (count, 1), generator=generator)], 1)


def move_images(images_NHWC: Tensor, moves_N3: Tensor) -> Tensor:
    """Move each image [H, W, C] by its move from draw_moves, as padding, cropping and flipping would.

    Pixels that come in from outside are black.
    """
    device, (count, height, width) = images_NHWC.device, images_NHWC.shape[:3]
    down_N1, right_N1, is_flipped_N1 = moves_N3.to(device)[:, :, None].unbind(1)
    row_NH = torch.arange(height, device=device) - down_N1
    column_W = torch.arange(width, device=device)
    column_NW = torch.where(is_flipped_N1 == 1, width - 1 - column_W, column_W) - right_N1
    inside_row_NH, inside_column_NW = row_NH.clamp(0, height - 1), column_NW.clamp(0, width - 1)
    is_inside_NHW = (row_NH == inside_row_NH)[:, :, None] & (column_NW == inside_column_NW)[:, None]
    image_N11 = torch.arange(count, device=device)[:, None, None]
    return images_NHWC[image_N11, inside_row_NH[:, :, None], inside_column_NW[:, None]] * is_inside_NHW[..., None]


def draw_colours(count: int, strength: float, generator: torch.Generator) -> Tensor | None:
    """Draw factors of brightness, contrast and saturation for each of `count` images, [count, 3].

    They are uniform in 1 - strength .. 1 + strength. If `strength` is 0, return None and draw nothing.
    """
    if strength == 0:
        return None
    return 1 + strength * (2 * torch.rand(count, 3, generator=generator) - 1)


def change_colours(images_NCHW: Tensor, colours_N3: Tensor) -> Tensor:
    """Change brightness, contrast and saturation of each image in [0, 1], in this order, as torchvision's ColorJitter.

    Each blends an image with another by its factor: with black, with the mean of its grey, and with its grey.
    """
    factors = colours_N3.to(images_NCHW.device, images_NCHW.dtype)[:, :, None, None, None]
    brightness, contrast, saturation = factors.unbind(1)
    images_NCHW = (images_NCHW * brightness).clamp(0, 1)
    images_NCHW = _blend(images_NCHW, _to_grey(images_NCHW).mean((1, 2, 3), keepdim=True), contrast)
    return _blend(images_NCHW, _to_grey(images_NCHW), saturation)


def _to_grey(images_NCHW: Tensor) -> Tensor:
    red, green, blue = images_NCHW.split(1, 1)
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def _blend(images_NCHW: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    return (factor * images_NCHW + (1 - factor) * others).clamp(0, 1)


def turn_images(images_NCHW: Tensor, turns_N: Tensor) -> Tensor:
    """Turn each square image [C, S, S] by its number of quarter turns [N]."""
    if len(images_NCHW) == 0:  # a rank has no image if the batch has fewer images than there are ranks
        return images_NCHW
    turned = torch.empty(images_NCHW.shape, dtype=images_NCHW.dtype, device=images_NCHW.device)
    for turns in range(4):
        rows = (turns_N == turns).nonzero().squeeze(1).to(images_NCHW.device)
        turned[rows] = images_NCHW[rows].rot90(turns, (2, 3))
    return turned
