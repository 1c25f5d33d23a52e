"""Paint pictures so that a colour follows the principal label, as in Colored MNIST (Nam et al., 2020).

The colour of an image is a known factor, `paint`, which only scores. An image whose colour is not that of its class is a
conflict; Nam et al. have 5, 2, 1 and .5 % of them.
"""

import colorsys
from dataclasses import dataclass

import numpy as np

from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.principal import Principal

FACTOR = "paint"
STREAM = 2  # keeps these draws apart from those of the split, which has the same seed
NOISE = 0.05  # standard deviation of each channel of a colour, for ten classes or fewer
CORNER = 8  # the side of an image over that of the square in its corner


@dataclass(frozen=True)
class Paint:
    """Hold what each image is painted with: its colour's number int64 [n] of `size`, and the colour uint8 [n, 3]."""

    what: str
    size: int
    values: np.ndarray
    colours: np.ndarray

    def apply(self, images: np.ndarray, start: int, source: str) -> np.ndarray:
        """Paint images uint8 [n, S, S, 3], of which the first is number `start`. `source` names their data set.

        Raises UserError if the object or the background of pictures in colour is to be painted.
        """
        colours = self.colours[start : start + len(images)][:, None, None].astype(np.uint16)
        if self.what == "corner":
            edge = max(2, images.shape[1] // CORNER)
            painted = images.copy()
            painted[:, :edge, :edge] = colours
            return painted
        if (images != images[..., :1]).any():
            raise UserError(
                f"data.paint.what={self.what} paints grey pictures, and {source} has pictures in colour; corner and off are "
                "allowed."
            )
        grey = images.astype(np.uint16)
        if self.what == "hue":
            return _scale(grey, colours)
        return images + _scale(255 - grey, colours)


def _scale(grey: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Multiply two arrays of 0 to 255 that stand for 0 to 1, and round."""
    return ((grey * colours + 127) // 255).astype(np.uint8)


def plan_paint(principal: Principal, names: np.ndarray, config: DataConfig) -> Paint | None:
    """Draw the colour of each sample by data.split_seed, or return None if `data.paint` is off.

    `names` [n] is the split of each sample. In the training and the validation split, a share `data.paint.fraction` of
    each class has the colour of the class; the others have any other colour. The share is exact up to one image of a
    class and half an image of a split. In the test split every class has all colours equally often, up to one image.
    Samples without a label have any colour.
    """
    if config.paint.what == "off":
        return None
    size, labels = len(principal.classes), principal.labels
    draw = np.random.default_rng((config.split_seed, STREAM))
    values = draw.integers(size, size=len(labels))
    for split in np.unique(names):
        due = 0.0  # conflicts that rounding has kept from the classes before, so that small classes get their part
        for label in np.unique(labels[(names == split) & (labels >= 0)]):
            members = draw.permutation(np.flatnonzero((names == split) & (labels == label)))
            if split == "test":
                values[members] = (draw.integers(size) + np.arange(len(members))) % size
            else:
                due += (1 - config.paint.fraction) * len(members)
                conflicts = members[: round(due)]
                due -= len(conflicts)
                values[members] = label
                values[conflicts] = (label + draw.integers(1, size, len(conflicts))) % size
    palette = np.array([colorsys.hsv_to_rgb(value / size, 1.0, 1.0) for value in range(size)])
    noise = draw.normal(0, NOISE * min(1.0, 10 / size), (len(labels), 3))
    colours = np.rint((palette[values] + noise).clip(0, 1) * 255).astype(np.uint8)
    return Paint(config.paint.what, size, values, colours)
