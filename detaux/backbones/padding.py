"""Pad images whose side does not fit the strides of a network."""

from torch import Tensor, nn
from torch.nn import functional


def round_up(side: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is at least `side`."""
    return -(-side // multiple) * multiple


class PadTo(nn.Module):
    """Pad images [N, C, S, S] with zeros at the right and the bottom to a given side."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        missing = self.side - images.shape[-1]
        return functional.pad(images, (0, missing, 0, missing)) if missing else images
