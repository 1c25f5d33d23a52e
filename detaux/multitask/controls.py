"""Controls: labels that should not help, trained beside the discovered ones to show what a gain is owed to."""

import numpy as np
import torch
from torch import Tensor

ROTATION = "rotation"  # the quarter turns of an image, made with its batch


def build_control(name: str, labels: Tensor, principal: Tensor, seed: int) -> Tensor:
    """Make control labels from auxiliary labels [N].

    `random` draws from their marginal, `permuted` shuffles them over all images, and `within_class` shuffles them inside
    each principal class [N], which keeps their dependence on it.
    """
    draw = np.random.default_rng(seed)
    values = labels.numpy()
    if name == "random":
        made = draw.choice(values, size=len(values))
    elif name == "permuted":
        made = draw.permutation(values)
    elif name == "within_class":
        made = values.copy()
        for label in np.unique(principal.numpy()):
            members = np.flatnonzero(principal.numpy() == label)
            made[members] = values[draw.permutation(members)]
    else:
        raise ValueError(f"no control of auxiliary labels is called {name!r}")
    return torch.from_numpy(made)
