"""Make controls: labels that should not help, trained like the discovered ones to show what causes a gain."""

import numpy as np
import torch
from torch import Tensor

ROTATION = "rotation"  # labels are the quarter turns of the images, drawn with each batch


def build_control(name: str, labels: Tensor, principal: Tensor, seed: int) -> Tensor:
    """Make control labels [N] from auxiliary labels [N].

    `random` draws each label from their marginal distribution. `permuted` shuffles them over all images. `within_class`
    shuffles them within each class of `principal` [N], which keeps their dependence on the class.
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
