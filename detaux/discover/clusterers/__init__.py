"""Clustering algorithms, one file a family; each is a function (points [N, D], DiscoverConfig, seed) -> Assignment."""

from typing import NamedTuple

import numpy as np


class Assignment(NamedTuple):
    """labels int [N], -1 is noise; probability float [N] in [0, 1], how surely a point belongs to its cluster."""

    labels: np.ndarray
    probability: np.ndarray
    backend: str
