"""Name the change of each edge: edges that change pictures alike are one change.

Two edges are one change if they are opposite in a square, or if their steps are alike. The first follows a change
whose picture varies with the other factors, as a colour varies with the shape that has it. The second finds a change in
a set that has few whole squares, since many combinations are missing.

F numbers that describe an image, E edges, n pairs of edges.
"""

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from detaux.data.neighbours import ROWS
from detaux.discover.factor_graph.squares import Corners

LEAST_VOTES = 3.2  # four corners of a square vote, each by the cosine of its opposite edges
ALIKE = 0.9  # least cosine of steps that are alike
LENGTHS = 1.3  # largest ratio of their lengths
NEAREST_STEPS = 6  # steps most like a step that may be alike
LEAST_EDGES = 8  # edges of a change
LEAST_SHARE = 0.002  # share of all edges in a change


def name_changes(corners: Corners, steps_EF: Tensor) -> np.ndarray:
    """Return the number of the change of each edge, int64 [E], 0 for the most frequent; -1 if it is rare.

    `steps_EF` is the difference between the two ends of each edge, in any direction.
    """
    joined = join_opposite(corners, steps_EF) + join_alike(steps_EF)
    found = connected_components(joined, directed=False)[1]
    counts = np.bincount(found, minlength=1)
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= max(LEAST_EDGES, LEAST_SHARE * len(found))]
    numbers = np.full(len(counts), -1)
    numbers[order] = np.arange(len(order))
    return numbers[found]


def join_opposite(corners: Corners, steps_EF: Tensor) -> csr_matrix:
    """Join the opposite edges of squares [E, E] that are also roughly alike as pictures."""
    only = np.flatnonzero(corners.is_only)
    first = np.concatenate([corners.near[only], corners.left[only]])
    second = np.concatenate([corners.far[only], corners.right[only]])
    places = torch.from_numpy(np.stack([first, second])).to(steps_EF.device)
    votes = torch.cosine_similarity(steps_EF[places[0]], steps_EF[places[1]]).abs().double().cpu().numpy()
    ends = np.minimum(first, second), np.maximum(first, second)
    joined = coo_matrix((votes, ends), shape=(len(steps_EF), len(steps_EF))).tocsr()  # adds the votes of each pair
    return joined > LEAST_VOTES


def join_alike(steps_EF: Tensor) -> csr_matrix:
    """Join each edge [E, E] to those of the NEAREST_STEPS most like it, up to the sign, that are alike."""
    lengths_E = steps_EF.norm(dim=1)
    ways_EF = steps_EF / lengths_E[:, None]
    pairs = [torch.empty(2, 0, dtype=torch.int64, device=steps_EF.device)]
    for own_R in torch.arange(len(steps_EF), device=steps_EF.device).split(ROWS):
        cosine_RE = (ways_EF[own_R] @ ways_EF.T).abs().scatter(1, own_R[:, None], -1.0)
        cosine_Rk, other_Rk = cosine_RE.topk(min(NEAREST_STEPS, len(steps_EF)), 1)
        own_Rk = own_R[:, None].expand_as(other_Rk)
        ratio_Rk = lengths_E[own_Rk] / lengths_E[other_Rk]
        is_alike_Rk = (cosine_Rk >= ALIKE) & (ratio_Rk <= LENGTHS) & (ratio_Rk >= 1 / LENGTHS)
        pairs.append(torch.stack([own_Rk[is_alike_Rk], other_Rk[is_alike_Rk]]))
    first, second = torch.cat(pairs, 1).cpu().numpy()
    shape = (len(steps_EF), len(steps_EF))
    one_way = csr_matrix((np.ones(len(first), bool), (first, second)), shape=shape)
    return one_way + one_way.T
