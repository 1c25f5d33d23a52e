"""Draw the labelled training images that teach a loss and never train the network."""

import torch
from torch import Tensor

from detaux.errors import UserError


def draw_held_out(principal: Tensor, fraction: float, seed: int) -> Tensor:
    """Return sorted indices of `fraction` of each class's images, at least one, from labels [N], -1 for none.

    A class with a single labelled image keeps it for training. Raises UserError if that holds for every class.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for label in principal[principal >= 0].unique():
        members = torch.nonzero(principal == label).squeeze(1)
        members = members[torch.randperm(len(members), generator=generator)]
        if len(members) > 1:
            drawn.append(members[: max(1, int(fraction * len(members)))])
    if not drawn:
        raise UserError(
            "auxilearn holds out a labelled training image of each class, but no class has two; set data.labelled_fraction "
            "to a larger value."
        )
    return torch.cat(drawn).sort().values
