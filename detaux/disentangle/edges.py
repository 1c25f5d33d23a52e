"""The oracle's reading of the mined graph: which subspace each edge changes most (Eq. 3)."""

import torch
from torch import Tensor

from detaux.data.relation import relate_labels
from detaux.disentangle.model import Disentangler
from detaux.losses.oracle import compute_normalizer, weigh_subspaces
from detaux.runtime.ranks import alone, gather_rows

READ_BATCH = 1024
NORMALIZER_SAMPLES = 512  # of the pool; a mean over pairs of all of it would cost P x P


@torch.no_grad()
def read_edges(
    model: Disentangler, images: Tensor, labels_P: Tensor, first_E: Tensor, second_E: Tensor, normalizer: str
) -> Tensor:
    """Subspace [E] that the hard oracle gives to an edge between P images with labels [P], -1 where none.

    images [n, C, H, W] are this rank's share of the P, one rank's after the other; what they are beyond P is ignored.
    """
    was_training = model.training
    model.eval()
    subspaces_nKD = torch.cat([model.project(model.encode(part)) for part in images.split(READ_BATCH)])
    model.train(was_training)
    subspaces_PKD = gather_rows(subspaces_nKD)[: len(labels_P)]
    with alone():  # every rank holds all of them now
        scale_K = compute_normalizer(subspaces_PKD[:NORMALIZER_SAMPLES], normalizer)
    labels_P, first_E, second_E = (index.to(images.device) for index in (labels_P, first_E, second_E))
    distances_EK = torch.cat(
        [
            (subspaces_PKD[first] - subspaces_PKD[second]).norm(dim=2)
            for first, second in zip(first_E.split(READ_BATCH), second_E.split(READ_BATCH), strict=True)
        ]
    )
    is_different_E, is_known_E = relate_labels(labels_P[first_E], labels_P[second_E])
    return weigh_subspaces(distances_EK / scale_K, is_different_E, is_known_E, sharpness=0.0, alpha=model.alpha).argmax(
        1
    )
