"""Compare the principal labels of the two images of a pair."""

from typing import TypeVar

import numpy as np
from torch import Tensor

Labels = TypeVar("Labels", Tensor, np.ndarray)


def relate_labels(first_B: Labels, second_B: Labels) -> tuple[Labels, Labels]:
    """Return whether both labels are known and differ, and whether both are known, each bool [B]. -1 is unknown."""
    is_known_B = (first_B >= 0) & (second_B >= 0)
    return is_known_B & (first_B != second_B), is_known_B
