"""Group changes to factors: the changes of one factor never span a square with each other, because its values are alternatives.

P images, F numbers that describe an image, E edges, C changes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from detaux.discover.factor_graph.squares import Corners

SPAN = 0.15  # changes of one factor span a square from a smaller share of the images where they meet
RELATED = 0.1  # least relation of the steps of two changes of one factor


def count_meetings(edges_E2: np.ndarray, change_E: np.ndarray, count: int) -> np.ndarray:
    """Count, for two different changes, the pairs of edges that meet at one of `count` images: int64 [C, C]."""
    known = np.flatnonzero(change_E >= 0)
    rows, columns = edges_E2[known].T.reshape(-1), np.tile(change_E[known], 2)
    shape = (count, change_E.max(initial=-1) + 1)
    degrees_PC = csr_matrix((np.ones(len(rows), np.int64), (rows, columns)), shape=shape)
    return (degrees_PC.T @ degrees_PC).toarray()


def count_squares(corners: Corners, change_E: np.ndarray) -> np.ndarray:
    """Count, for two different changes, the pairs of edges that meet and span a square of these: int64 [C, C]."""
    near, far, left, right = (change_E[side] for side in (corners.near, corners.far, corners.left, corners.right))
    is_whole = (near >= 0) & (left >= 0) & (near == far) & (left == right)
    pairs = np.unique(np.stack([corners.near, corners.left], 1)[is_whole], axis=0)
    changes = change_E.max(initial=-1) + 1
    squares_CC = np.zeros((changes, changes), np.int64)
    np.add.at(squares_CC, tuple(change_E[pairs].T), 1)
    return squares_CC + squares_CC.T


def relate_changes(steps_EF: Tensor, change_E: np.ndarray) -> np.ndarray:
    """Return the inner products [C, C] of the scatter matrices of the changes' directions.

    The scatter matrix of a group is the sum of those of its changes, so its inner products are sums of these. An inner
    product over the root of those with itself is the relation of two groups, from 0, if no directions are shared, to 1.
    """
    ways_EF = torch.nn.functional.normalize(steps_EF, dim=1)
    scatters = []
    for change in range(change_E.max(initial=-1) + 1):
        own_nF = ways_EF[torch.from_numpy(np.flatnonzero(change_E == change)).to(ways_EF.device)]
        scatters.append((own_nF.T @ own_nF).flatten())
    scatter_CX = torch.stack(scatters)
    return (scatter_CX @ scatter_CX.T).double().cpu().numpy()


def group_changes(
    meetings_CC: np.ndarray, squares_CC: np.ndarray, inner_CC: np.ndarray, is_principal_C: Sequence[bool | None]
) -> list[list[int]]:
    """Return the changes of each factor, joined greedily, the most related first.

    Two groups are joined if they span a square from a share below SPAN of the meetings, and their relation is at least
    RELATED. `is_principal_C` is None if no label says it; then the change may join either.
    """
    groups = [[change] for change in range(len(meetings_CC))]
    sums = np.stack([meetings_CC, squares_CC, inner_CC]).astype(float)
    principal = np.array([0 if known is None else 1 if known else -1 for known in is_principal_C])
    while len(groups) > 1:
        meetings, squares, inner = sums
        lengths = np.sqrt(np.diag(inner))
        relation = inner / np.outer(lengths, lengths)
        allowed = (squares <= SPAN * meetings) & (relation >= RELATED) & (np.outer(principal, principal) >= 0)
        relation = np.where(np.triu(allowed, 1), relation, -1)
        first, second = np.unravel_index(relation.argmax(), relation.shape)
        if relation[first, second] < 0:
            break
        groups[first] += groups.pop(second)
        principal[first] = principal[first] or principal[second]
        principal = np.delete(principal, second)
        sums[:, first] += sums[:, second]
        sums[:, :, first] += sums[:, :, second]
        sums = np.delete(np.delete(sums, second, 1), second, 2)
    return groups
