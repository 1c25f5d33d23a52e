"""Find the factors of a set of images from the graph of its relative neighbours.

P images, F numbers that describe an image, E edges, r directions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detaux.data.relation import relate_labels
from detaux.discover.factor_graph.changes import name_changes
from detaux.discover.factor_graph.edges import find_edges
from detaux.discover.factor_graph.grouping import count_meetings, count_squares, group_changes, relate_changes
from detaux.discover.factor_graph.squares import find_corners
from detaux.discover.factor_graph.values import (
    combine_values,
    drop_small,
    find_directions,
    find_kept,
    find_values,
    measure_crossing,
)

LEAST_SHARE = 0.02  # share of all edges that change a factor
LEAST_INSIDE = 0.5  # share of the images that have a value
LEAST_CROSSING = 0.9  # share of a factor's own edges that join different values


@dataclass(frozen=True)
class Factor:
    """Hold a factor.

    values_P       int64 [P], -1 for images without one
    directions_Fr  [F, r], those that it changes
    is_own_E       bool [E], which edges change it
    """

    values_P: np.ndarray
    directions_Fr: Tensor
    is_own_E: np.ndarray


def find_factors(points_PF: Tensor, labels_P: np.ndarray, smallest: int) -> list[Factor]:
    """Return the factors of images described by points [P, F], the one that most edges change first.

    The principal one is left out, by the labels [P]; -1 is unknown. A value has at least `smallest` images. At
    least the share LEAST_INSIDE of the images has one, and at least the share LEAST_CROSSING of a factor's own edges
    joins images of different values.
    """
    if len(points_PF) < 2:
        return []
    edges_E2 = find_edges(points_PF)
    ends = torch.from_numpy(edges_E2).to(points_PF.device)
    steps_EF = points_PF[ends[:, 0]] - points_PF[ends[:, 1]]
    corners = find_corners(edges_E2, len(points_PF))
    change_E = name_changes(corners, steps_EF)
    if change_E.max(initial=-1) < 0:
        return []
    is_principal_C = find_principal(labels_P, edges_E2, change_E)
    groups = group_changes(
        count_meetings(edges_E2, change_E, len(points_PF)),
        count_squares(corners, change_E),
        relate_changes(steps_EF, change_E),
        is_principal_C,
    )
    owners = [np.isin(change_E, group) for group in groups if not any(is_principal_C[one] for one in group)]
    found = []
    for is_own_E in sorted(owners, key=np.sum, reverse=True):
        if is_own_E.mean() < LEAST_SHARE:
            break
        directions_Fr = find_directions(steps_EF[torch.from_numpy(is_own_E).to(steps_EF.device)])
        is_kept_E = find_kept(steps_EF, is_own_E, directions_Fr)
        values_P = find_values(edges_E2, is_kept_E, len(points_PF), smallest)
        one = Factor(values_P, directions_Fr, is_own_E)
        if is_plausible(one, edges_E2):
            found.append(one)
    return join_parts(found, edges_E2, smallest)


def is_plausible(one: Factor, edges_E2: np.ndarray) -> bool:
    """Return whether enough images have a value, and enough of the factor's own edges join different values."""
    is_wide = (one.values_P >= 0).mean() >= LEAST_INSIDE
    return bool(is_wide) and measure_crossing(one.values_P, edges_E2[one.is_own_E]) >= LEAST_CROSSING


def join_parts(factors: list[Factor], edges_E2: np.ndarray, smallest: int) -> list[Factor]:
    """Join the factors that are parts of one, unless the limits of find_factors refuse the joined factor.

    The joined factor has the place of the first.
    """
    whole: list[Factor] = []
    for one in factors:
        for place, other in enumerate(whole):
            joined = _join(other, one, smallest)
            if joined is not None and is_plausible(joined, edges_E2):
                whole[place] = joined
                break
        else:
            whole.append(one)
    return whole if len(whole) == len(factors) else join_parts(whole, edges_E2, smallest)


def _join(first: Factor, second: Factor, smallest: int) -> Factor | None:
    """Return the factor of which both are parts, or None if they are two."""
    values_P = combine_values(first.values_P, second.values_P)
    if values_P is None:
        return None
    both = torch.cat([first.directions_Fr, second.directions_Fr], 1)
    directions_Fr = torch.linalg.svd(both, full_matrices=False)[0]
    return Factor(drop_small(values_P, smallest), directions_Fr, first.is_own_E | second.is_own_E)


def find_principal(labels_P: np.ndarray, edges_E2: np.ndarray, change_E: np.ndarray) -> list[bool | None]:
    """Return whether most edges of each change also change the principal label; None if no labels [P] say it."""
    is_different_E, is_known_E = relate_labels(labels_P[edges_E2[:, 0]], labels_P[edges_E2[:, 1]])
    changes = change_E.max(initial=-1) + 1
    named_E = change_E >= 0
    known_C = np.bincount(change_E[named_E & is_known_E], minlength=changes)
    different_C = np.bincount(change_E[named_E & is_different_E], minlength=changes)
    return [None if n == 0 else bool(d > n / 2) for n, d in zip(known_C, different_C, strict=True)]
