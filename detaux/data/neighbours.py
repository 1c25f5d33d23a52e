"""Mine pairs that differ in one factor from the images alone: relative neighbourhoods within each principal label.

Two images a, b of one label are relative neighbours if no third image c of the label has
max(d(a, c), d(c, b)) < d(a, b) (Toussaint 1980). A pair that differs in two factors is blocked by the image at the
corner between them, whatever the scales of the factors; a pair that differs in one factor has no such corner. Where labels
are missing, all images are one neighbourhood, and the principal factor is one of those that a pair may differ in.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from detaux.data.augment import add_noise, to_float

WITNESSES = 64  # nearest images tried first as c; they block nearly every pair that is blocked at all


@dataclass
class NeighbourGraph:
    """Neighbour lists of P images, padded with -1 to the largest degree M.

    neighbours [P, M] int64; subspaces [P, M] int64, the subspace the oracle gives to each edge, -1 before the first
    reading.
    """

    neighbours: Tensor
    subspaces: Tensor

    def edges(self) -> tuple[Tensor, Tensor]:
        """Both ends [E] of every directed edge, in the order of the lists."""
        rows, columns = torch.nonzero(self.neighbours >= 0, as_tuple=True)
        return rows, self.neighbours[rows, columns]

    def mark(self, subspaces_E: Tensor) -> None:
        """Store the oracle's subspace of every edge, in the order of `edges`."""
        self.subspaces[self.neighbours >= 0] = subspaces_E.cpu()


def compute_squared_distances(features_PF: Tensor) -> Tensor:
    """Squared Euclidean distances [P, P] of float64 features; exact where the features are small integers."""
    squares = (features_PF * features_PF).sum(1)
    distances = squares[:, None] + squares[None, :] - 2 * features_PF @ features_PF.T
    distances.clamp_(min=0).fill_diagonal_(0)
    return torch.minimum(distances, distances.T)  # rounding must not make d(a, b) differ from d(b, a)


def find_relative_neighbours(distances_PP: Tensor) -> Tensor:
    """Pairs [E, 2] (a < b) of relative neighbours under a symmetric distance matrix.

    Identical images (distance 0) are no pair: they differ in nothing.
    """
    count = distances_PP.shape[0]
    witnesses = distances_PP.topk(min(WITNESSES + 1, count), largest=False).indices
    alive = torch.ones_like(distances_PP, dtype=torch.bool).triu_(1) & (distances_PP > 0)
    for column in range(witnesses.shape[1]):
        chosen = witnesses[:, column]
        # c = chosen[a] for every row a at once: blocked where both legs are shorter than the pair itself
        legs = torch.maximum(distances_PP.gather(1, chosen[:, None]), distances_PP[chosen])
        alive &= legs >= distances_PP
    pairs = alive.nonzero()
    keep = torch.empty(len(pairs), dtype=torch.bool)
    for start in range(0, len(pairs), 4096):
        part = pairs[start : start + 4096]
        first, second = part[:, 0], part[:, 1]
        legs = torch.maximum(distances_PP[first], distances_PP[second]).amin(1)
        keep[start : start + 4096] = legs >= distances_PP[first, second]
    return pairs[keep]


def mine_neighbours(images: Tensor, labels: Tensor, noise: float = 0.0, seed: int = 0) -> NeighbourGraph:
    """Relative-neighbourhood graph of uint8 images [P, H, W, C] within each label [P], or over all where one is -1.

    With `noise`, the images carry salt and pepper, drawn from `seed`, as those that are trained on do; 2x2 pixels are then
    averaged first, which tells a factor from the noise.
    """
    features = images.reshape(len(images), -1).double()
    if noise > 0:
        noisy = add_noise(to_float(images), noise, torch.Generator().manual_seed(seed))
        features = functional.avg_pool2d(noisy.double(), 2).flatten(1)
    if (labels < 0).any():
        labels = torch.zeros_like(labels)
    ends = []
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1).cpu()
        pairs = find_relative_neighbours(compute_squared_distances(features[members]))
        ends.append(members[pairs.cpu()])
    pairs = torch.cat(ends)
    pairs = torch.cat([pairs, pairs.flip(1)]).cpu()
    pairs = pairs[torch.argsort(pairs[:, 0] * len(images) + pairs[:, 1])]
    degrees = torch.bincount(pairs[:, 0], minlength=len(images))
    neighbours = torch.full((len(images), int(degrees.max()) if len(pairs) else 1), -1, dtype=torch.int64)
    first_slot = torch.cumsum(degrees, 0) - degrees
    neighbours[pairs[:, 0], torch.arange(len(pairs)) - first_slot[pairs[:, 0]]] = pairs[:, 1]
    return NeighbourGraph(neighbours, torch.full_like(neighbours, -1))
