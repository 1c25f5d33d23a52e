from itertools import product

import numpy as np
import pytest

VALUES = (6, 5, 4)  # of the upper half, the lower left and the lower right; the last one is the principal factor


def draw_colours(count: int, random: np.random.Generator) -> np.ndarray:
    """Draw colours of which no two are close."""
    colours = random.integers(0, 256, (1, 3))
    while len(colours) < count:
        one = random.integers(0, 256, 3)
        if np.linalg.norm(colours - one, axis=1).min() > 70:
            colours = np.vstack([colours, one])
    return colours


@pytest.fixture
def make_grid():
    """Make pictures uint8 [P, 12, 12, 3] of all combinations of VALUES, and the factors [P, 3] of each."""

    def make(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        palettes = [draw_colours(count, random) for count in VALUES]
        factors = np.array(list(product(*map(range, VALUES))))
        images = np.zeros((len(factors), 12, 12, 3), np.uint8)
        for image, (upper, left, right) in zip(images, factors, strict=True):
            image[:6] = palettes[0][upper]
            image[6:, :6] = palettes[1][left]
            image[6:, 6:] = palettes[2][right]
        return images, factors

    return make
