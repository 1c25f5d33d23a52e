"""Mine pairs that differ in one factor, using only the images: relative neighbourhoods within each principal label.

Two images a, b of one label are relative neighbours if no third image c of the label has max(d(a, c), d(c, b)) < d(a,
b) (Toussaint 1980). If a pair differs in two factors, the image at the corner between its ends blocks it, whatever the
scales of the factors. A pair that differs in one factor has no such corner. If any label is missing, all images are one
neighbourhood, and a pair may differ in the principal factor too.

An image c can block a pair (a, b) only if it is nearer to a than b is. So the k nearest images of a hold every c that
could block one of them. Among pairs with one end in the other's k nearest, the graph is therefore exact. It costs P k^2
in place of P^3.

P images, F numbers that describe an image, k nearest images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from detaux.data.components import fit_components
from detaux.data.image_rows import Images
from detaux.data.prepare import fit_batch, prepare_images
from detaux.runtime.collectives import gather_objects
from detaux.runtime.ranks import rank, world_size

COMPONENTS = 128  # principal components that stand for the pixels
FITTED_IMAGES = 4096  # images that the components are fitted to
FITTED_BYTES = 192 * 2**20  # most bytes of fitted images held as floats: 4,096 images of 64 pixels
ROWS = 128  # images handled at once in the search for neighbours; the same on any number of ranks
ROUNDING = 1e-4  # relative; squared distances that differ by less are equal
IDENTICAL = 1e-10  # images are the same at this ratio of squared distance to mean squared length


@dataclass
class NeighbourGraph:
    """Hold the neighbour lists of P images, padded with -1 to the largest degree M.

    neighbours [P, M] int64; subspaces [P, M] int64, the subspace that the oracle gives to each edge, -1 before the
    oracle is first read.
    """

    neighbours: Tensor
    subspaces: Tensor

    def edges(self) -> tuple[Tensor, Tensor]:
        """Return both ends [E] of every directed edge, in the order of the lists."""
        rows, columns = torch.nonzero(self.neighbours >= 0, as_tuple=True)
        return rows, self.neighbours[rows, columns]

    def mark(self, subspaces_E: Tensor) -> None:
        """Store the subspace that the oracle gives to every edge, in the order of `edges`."""
        self.subspaces[self.neighbours >= 0] = subspaces_E.cpu()


def describe_images(images: Images, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Describe images uint8 [P, H, W, C] by points float32 [P, F], with distances close to those of the pixels.

    The points are at most COMPONENTS principal components of the pixels. With `noise`, the images carry salt and pepper
    drawn from `seed`, as in training, and it is removed as far as a picture shows it. The fitted images are held as
    floats if they fit into FITTED_BYTES. Otherwise they pass in batches.
    """
    fitted = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:FITTED_IMAGES]
    everything, generator = torch.arange(len(images)), torch.Generator().manual_seed(seed)
    is_small = min(len(images), images.shape[1:].numel()) <= COMPONENTS
    if is_small or len(fitted) <= fit_batch(FITTED_IMAGES, images.shape, FITTED_BYTES):
        pixels_NF = _flatten(images, fitted, noise, generator)
        mean_F = pixels_NF.mean(0)
        tiles = (_flatten(images, rows, noise, generator) - mean_F for rows in everything.split(FITTED_IMAGES))
        if is_small:
            return torch.cat(list(tiles))
        with torch.random.fork_rng():  # the factorisation draws from torch's own generator
            torch.manual_seed(seed)
            basis_FC = torch.pca_lowrank(pixels_NF - mean_F, COMPONENTS, center=False)[2]
        return torch.cat([tile @ basis_FC for tile in tiles])

    size = fit_batch(FITTED_IMAGES, images.shape)

    def iterate_fitted() -> Iterator[Tensor]:
        generator.manual_seed(seed)  # every pass has the same noise
        return (_flatten(images, rows, noise, generator) for rows in fitted.split(size))

    mean_F, basis_FC = fit_components(iterate_fitted, COMPONENTS, seed)
    return torch.cat(
        [(_flatten(images, rows, noise, generator) - mean_F) @ basis_FC for rows in everything.split(size)]
    )


def _flatten(images: Images, rows: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Turn some images into their pixels float32 [n, F], with noise added and removed again."""
    part = images[rows.to(images.device)]
    draw = partial(torch.rand, part.shape[:3], generator=generator)
    return prepare_images(part, noise=noise, draw=draw, denoise=True).flatten(1)


def find_k_nearest(points_PF: Tensor, nearest: int, rows: Tensor) -> Tensor:
    """Find the `nearest` other points to each point in `rows`, nearest first, [R, k]; all others if there are fewer."""
    # the squared distance less a constant in each row, which does not change the order
    distance_RP = points_PF.square().sum(1) - 2 * points_PF[rows] @ points_PF.T
    distance_RP.scatter_(1, rows[:, None], torch.inf)
    return distance_RP.topk(min(nearest, len(points_PF) - 1), largest=False).indices


def find_relative_neighbours(points_PF: Tensor, nearest: int, rows: Tensor) -> Tensor:
    """Return pairs [E, 2] of the images in `rows` and their relative neighbours among the `nearest` images to each.

    If both ends of a pair are in `rows`, the pair can be there twice, once from each end. Identical images are no pair,
    because they differ in nothing.
    """
    own = rows.to(points_PF.device)
    near_Rk = find_k_nearest(points_PF, nearest, own)
    steps_RkF = points_PF[near_Rk] - points_PF[own, None]
    squared_Rk = steps_RkF.square().sum(2)
    # with a at the origin, d(c, b)^2 = |c|^2 + |b|^2 - 2 c b is less than |b|^2 if |c|^2 / 2 - c b is less than 0
    legs_Rcb = torch.baddbmm(squared_Rk[:, :, None] / 2, steps_RkF, steps_RkF.transpose(1, 2), alpha=-1)
    legs_Rcb.masked_fill_(squared_Rk[:, :, None] >= squared_Rk[:, None] * (1 - ROUNDING), torch.inf)
    is_other_Rk = squared_Rk > IDENTICAL * points_PF.square().sum(1).mean()
    is_relative_Rk = (legs_Rcb.amin(1) >= -ROUNDING / 2 * squared_Rk) & is_other_Rk
    row, column = is_relative_Rk.nonzero().unbind(1)
    return torch.stack([own[row], near_Rk[row, column]], dim=1).cpu()


def mine_pairs(
    images: Images, labels: Tensor, nearest: int, noise: float = 0.0, seed: int = 0, anchors: Tensor | None = None
) -> Tensor:
    """Return both ends [E, 2] of the edges from each image to its relative neighbours among the `nearest` images to it.

    images are uint8 [P, H, W, C]. Edges join images of one label [P], or any images if a label is -1. They start at all
    P images, or only at `anchors`. Each rank returns the edges of its share.
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


def mine_neighbours(images: Images, labels: Tensor, nearest: int, noise: float = 0.0, seed: int = 0) -> NeighbourGraph:
    """Build the graph of the edges that mine_pairs finds, each listed at both ends.

    All ranks call it together and share the work.
    """
    pairs = torch.cat(gather_objects(mine_pairs(images, labels, nearest, noise, seed)))
    pairs = torch.cat([pairs, pairs.flip(1)]).unique(dim=0)  # sorted by image
    degrees = torch.bincount(pairs[:, 0], minlength=len(images))
    neighbours = torch.full((len(images), max(1, int(degrees.max()))), -1, dtype=torch.int64)
    first_slot = torch.cumsum(degrees, 0) - degrees
    neighbours[pairs[:, 0], torch.arange(len(pairs)) - first_slot[pairs[:, 0]]] = pairs[:, 1]
    return NeighbourGraph(neighbours, torch.full_like(neighbours, -1))
