"""Mine pairs that differ in one factor from the images alone: relative neighbourhoods within each principal label.

Two images a, b of one label are relative neighbours if no third image c of the label has
max(d(a, c), d(c, b)) < d(a, b) (Toussaint 1980). A pair that differs in two factors is blocked by the image at the
corner between them, whatever the scales of the factors; a pair that differs in one factor has no such corner. Where labels
are missing, all images are one neighbourhood, and the principal factor is one of those that a pair may differ in.

Only c nearer to a than b is can block, so the k nearest images of a hold every c that could block one of them: among pairs
with one end in the other's k nearest the graph is exact, at a cost of P k^2 in place of P^3.

P images, F numbers that describe an image, k nearest images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from detaux.data.augment import add_noise, remove_noise, to_float
from detaux.runtime.collectives import gather_objects
from detaux.runtime.ranks import rank, world_size

COMPONENTS = 128  # principal components that stand for the pixels
FITTED_IMAGES = 4096  # of which they are those
ROWS = 128  # images whose neighbours are sought together; the same on any number of ranks
ROUNDING = 1e-4  # relative; squared distances that differ by less are equal
IDENTICAL = 1e-10  # squared distance over the mean squared length, at which images are the same


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


def describe_images(images: Tensor, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Images uint8 [P, H, W, C] as points float32 [P, F], whose distances are those of the pixels: at most COMPONENTS
    principal components of them.

    With `noise`, the images carry salt and pepper, drawn from `seed`, as those that are trained on do, and it is removed as
    far as it can be told from the picture.
    """
    generator = torch.Generator().manual_seed(seed)

    def flatten(part: Tensor) -> Tensor:
        pixels = to_float(part)
        return (remove_noise(add_noise(pixels, noise, generator)) if noise > 0 else pixels).flatten(1)

    fitted = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:FITTED_IMAGES]
    pixels_NF = flatten(images[fitted.to(images.device)])
    mean_F = pixels_NF.mean(0)
    if min(pixels_NF.shape) <= COMPONENTS:
        return torch.cat([flatten(part) - mean_F for part in images.split(FITTED_IMAGES)])
    with torch.random.fork_rng():  # the factorisation draws from torch's own generator
        torch.manual_seed(seed)
        basis_FC = torch.pca_lowrank(pixels_NF - mean_F, COMPONENTS, center=False)[2]
    return torch.cat([(flatten(part) - mean_F) @ basis_FC for part in images.split(FITTED_IMAGES)])


def find_nearest(points_PF: Tensor, nearest: int, rows: Tensor) -> Tensor:
    """The `nearest` other points to each of the points in `rows`, nearest first, [R, k]; all others where they are fewer."""
    # squared, but for a constant in each row
    distance_RP = points_PF.square().sum(1) - 2 * points_PF[rows] @ points_PF.T
    distance_RP.scatter_(1, rows[:, None], torch.inf)
    return distance_RP.topk(min(nearest, len(points_PF) - 1), largest=False).indices


def find_relative_neighbours(points_PF: Tensor, nearest: int, rows: Tensor) -> Tensor:
    """Pairs [E, 2] of the images in `rows` and their relative neighbours among the `nearest` images to each. A pair of two
    such images can be there once from each end.

    Identical images are no pair: they differ in nothing.
    """
    own = rows.to(points_PF.device)
    near_Rk = find_nearest(points_PF, nearest, own)
    steps_RkF = points_PF[near_Rk] - points_PF[own, None]
    squared_Rk = steps_RkF.square().sum(2)
    # d(c, b)^2 = |c|^2 + |b|^2 - 2 c b, seen from a, is less than |b|^2 where |c|^2 / 2 - c b is less than 0
    legs_Rcb = torch.baddbmm(squared_Rk[:, :, None] / 2, steps_RkF, steps_RkF.transpose(1, 2), alpha=-1)
    legs_Rcb.masked_fill_(squared_Rk[:, :, None] >= squared_Rk[:, None] * (1 - ROUNDING), torch.inf)
    is_other_Rk = squared_Rk > IDENTICAL * points_PF.square().sum(1).mean()
    is_relative_Rk = (legs_Rcb.amin(1) >= -ROUNDING / 2 * squared_Rk) & is_other_Rk
    row, column = is_relative_Rk.nonzero().unbind(1)
    return torch.stack([own[row], near_Rk[row, column]], dim=1).cpu()


def mine_pairs(
    images: Tensor, labels: Tensor, nearest: int, noise: float = 0.0, seed: int = 0, anchors: Tensor | None = None
) -> Tensor:
    """Both ends [E, 2] of edges within each label [P], or over all where one is -1, from uint8 images [P, H, W, C] to their
    relative neighbours among the `nearest` to each; of all P images, or of `anchors` alone. Of several ranks, each has the
    edges of its share.
    """
    points_PF = describe_images(images, noise, seed)
    if (labels < 0).any():
        labels = torch.zeros_like(labels)
    is_anchor = torch.ones(len(labels), dtype=torch.bool)
    if anchors is not None:
        is_anchor = torch.zeros_like(is_anchor).index_fill_(0, anchors, True)
    found = []
    for label in labels.unique():
        members = (labels == label).nonzero().squeeze(1).cpu()
        if len(members) == 1:
            continue
        blocks = is_anchor[members].nonzero().squeeze(1).split(ROWS)[rank() :: world_size()]
        points_MF = points_PF[members.to(points_PF.device)]
        found += [members[find_relative_neighbours(points_MF, nearest, rows)] for rows in blocks]
    return torch.cat([torch.empty(0, 2, dtype=torch.int64), *found])


def mine_neighbours(images: Tensor, labels: Tensor, nearest: int, noise: float = 0.0, seed: int = 0) -> NeighbourGraph:
    """The graph of the edges that mine_pairs finds, each there from both ends. All ranks call it together and share the
    work."""
    pairs = torch.cat(gather_objects(mine_pairs(images, labels, nearest, noise, seed)))
    pairs = torch.cat([pairs, pairs.flip(1)]).unique(dim=0)  # sorted by image
    degrees = torch.bincount(pairs[:, 0], minlength=len(images))
    neighbours = torch.full((len(images), max(1, int(degrees.max()))), -1, dtype=torch.int64)
    first_slot = torch.cumsum(degrees, 0) - degrees
    neighbours[pairs[:, 0], torch.arange(len(pairs)) - first_slot[pairs[:, 0]]] = pairs[:, 1]
    return NeighbourGraph(neighbours, torch.full_like(neighbours, -1))
