"""The oracle's reading of the mined graph: which free subspace each edge changes most (Eq. 3, without its label case)."""

import torch
from torch import Tensor

from detaux.disentangle.model import Disentangler
from detaux.losses.oracle import compute_normalizer

READ_BATCH = 1024
NORMALIZER_SAMPLES = 512  # of the pool; a mean over pairs of all of it would cost P x P


@torch.no_grad()
def read_edges(model: Disentangler, images: Tensor, first_E: Tensor, second_E: Tensor, normalizer: str) -> Tensor:
    """Free subspace [E] in which the projections of images [P, C, H, W] at both ends of an edge are farthest apart."""
    was_training = model.training
    model.eval()
    subspaces_PKD = torch.cat([model.project(model.encode(part)) for part in images.split(READ_BATCH)])
    model.train(was_training)
    scale_K = compute_normalizer(subspaces_PKD[:NORMALIZER_SAMPLES], normalizer)
    first_E, second_E = first_E.to(images.device), second_E.to(images.device)
    distances_EK = torch.cat(
        [
            (subspaces_PKD[first] - subspaces_PKD[second]).norm(dim=2)
            for first, second in zip(first_E.split(READ_BATCH), second_E.split(READ_BATCH), strict=True)
        ]
    )
    free = [index for index in range(model.num_subspaces) if index != model.alpha]
    return torch.tensor(free, device=images.device)[(distances_EK / scale_K)[:, free].argmax(1)]
