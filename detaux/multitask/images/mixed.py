"""Mix images and their labels in pairs (mixup; Zhang et al., ICLR 2018)."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def draw_mix(size: int, alpha: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """Draw a partner [size] for each image of a batch, and the weight of the images themselves from Beta(alpha, alpha)."""
    partners = torch.randperm(size, generator=generator)
    seed = int(torch.randint(2**31, (), generator=generator))  # torch has no public Beta draw from a generator
    return partners, np.random.default_rng(seed).beta(alpha, alpha)


def mix(values: Tensor, weight: float) -> Tensor:
    """Mix the first half of the rows of `values` with the second half, in which each has its partner."""
    own, partner = values.tensor_split(2)
    return weight * own + (1 - weight) * partner


def mix_labels(labels: Tensor, classes: int, weight: float) -> Tensor:
    """Mix labels [2b] of images and partners into probabilities [b, classes]. A label of -1 counts for no class."""
    one_hot = functional.one_hot(labels.clamp_min(0), classes).float() * (labels >= 0)[:, None]
    return mix(one_hot, weight)
