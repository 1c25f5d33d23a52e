"""Join each image to its relative neighbours among all images, however far they are.

Images a, b are relative neighbours if no third image c has max(d(a, c), d(c, b)) < d(a, b) (Toussaint 1980).
detaux/data/neighbours.py finds those among the k nearest images to each. In a grid of factors the nearest image in
which only the wall changes is behind all images of the same wall, so here no number of nearest images is enough.

P images, F numbers that describe an image, R images of a tile, E edges.
"""

import numpy as np
import torch
from torch import Tensor

from detaux.data.neighbours import ROUNDING, ROWS

MOST_TRIED = 32  # nearest unblocked images that an image tries; those of a grid have about ten
SAME = 1e-6  # images are the same at this ratio of squared distance to mean squared length, as float32 resolves it


def find_edges(points_PF: Tensor) -> np.ndarray:
    """Return the edges int64 [E, 2] of the relative-neighbour graph of points [P, F], each once, first < second.

    Distances are held in tiles of ROWS x P. Identical points are not joined, because they differ in nothing.
    """
    points_PF = points_PF - points_PF.mean(0)  # short vectors lose least in |a|^2 + |b|^2 - 2 ab
    empty = torch.empty(0, 2, dtype=torch.int64, device=points_PF.device)
    rows_P = torch.arange(len(points_PF), device=points_PF.device)
    tried = torch.cat([empty, *(_try_neighbours(points_PF, rows_R) for rows_R in rows_P.split(ROWS))])
    edges_E2, counts = tried.sort(1).values.unique(dim=0, return_counts=True)
    edges_E2 = edges_E2[counts == 2]  # a relative neighbour is left at both ends
    kept = [part[~_find_blocked(points_PF, part)] for part in edges_E2.split(ROWS)]
    return torch.cat([empty, *kept]).cpu().numpy()


def _try_neighbours(points_PF: Tensor, rows_R: Tensor) -> Tensor:
    """Return pairs [n, 2] of the images in `rows_R` and all others that no nearer image in these pairs blocks.

    They include all relative neighbours, because only the images in these pairs may block. An image tries at most
    MOST_TRIED others, the nearest.
    """
    squared_RP = _measure_squares(points_PF[rows_R], points_PF)
    squared_RP.scatter_(1, rows_R[:, None], torch.inf)
    squared_RP.masked_fill_(squared_RP <= SAME * points_PF.square().sum(1).mean(), torch.inf)
    open_RP = squared_RP.clone()  # the distance to the images that nothing blocks yet; infinite for the others
    pairs = []
    for _ in range(MOST_TRIED):
        distance_R, nearest_R = open_RP.min(1)
        is_found_R = distance_R.isfinite()
        if not is_found_R.all():  # images that have tried all of theirs need no more distances
            rows_R, squared_RP, open_RP = rows_R[is_found_R], squared_RP[is_found_R], open_RP[is_found_R]
            distance_R, nearest_R = distance_R[is_found_R], nearest_R[is_found_R]
        if len(rows_R) == 0:
            break
        pairs.append(torch.stack([rows_R, nearest_R], 1))
        longest_RP = torch.maximum(_measure_squares(points_PF[nearest_R], points_PF), distance_R[:, None])
        open_RP.masked_fill_(longest_RP < squared_RP * (1 - ROUNDING), torch.inf)
        open_RP.scatter_(1, nearest_R[:, None], torch.inf)
    return torch.cat(pairs) if pairs else rows_R.new_empty(0, 2)


def _find_blocked(points_PF: Tensor, edges_n2: Tensor) -> Tensor:
    """Return whether any image is nearer to both ends of an edge than these are to each other, bool [n]."""
    first_nF, second_nF = points_PF[edges_n2[:, 0]], points_PF[edges_n2[:, 1]]
    limit_n1 = (first_nF - second_nF).square().sum(1, keepdim=True) * (1 - ROUNDING)
    longest_nP = torch.maximum(_measure_squares(first_nF, points_PF), _measure_squares(second_nF, points_PF))
    return (longest_nP.scatter(1, edges_n2, torch.inf) < limit_n1).any(1)


def _measure_squares(first_nF: Tensor, points_PF: Tensor) -> Tensor:
    """Compute squared distances [n, P]."""
    squares_nP = first_nF.square().sum(1, keepdim=True) + points_PF.square().sum(1)
    return torch.addmm(squares_nP, first_nF, points_PF.T, alpha=-2)
