"""Turn a spanning tree into clusters: condense and cut the hierarchy of HDBSCAN (Campello, Moulavi and Sander 2013).

N points, C clusters of the condensed hierarchy. A density is lambda = 1 / distance. Only the N - 1 edges are needed, so
this runs on the host, whatever the device of the points.
"""

from dataclasses import dataclass

import numpy as np

from detaux.discover.clusterers.disjoint import find_root

ROUNDING = (
    1e-9  # relative; sums of stabilities that differ by less count as equal, because the order of adding changes them
)


@dataclass(frozen=True)
class CondensedTree:
    """Hold clusters numbered from the root, 0, parents before children. Points leave the clusters as density grows.

    parent, birth [C]: the cluster that each cluster split off from (-1 for the root), and the lambda of the split.
    cluster, density [N]: the last cluster that contains a point, and the lambda at which the point leaves it.
    """

    parent: np.ndarray
    birth: np.ndarray
    cluster: np.ndarray
    density: np.ndarray

    @property
    def death(self) -> np.ndarray:
        """Return the largest lambda at which a point or a child leaves each cluster, [C]."""
        death = np.zeros(len(self.parent))
        np.maximum.at(death, self.cluster, self.density)
        np.maximum.at(death, self.parent[1:], self.birth[1:])
        return death


def link_single(edges_E2: np.ndarray, weights_E: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Build the single-linkage dendrogram of a spanning tree.

    Returns children [N - 1, 2], weight [N - 1] and size [2N - 1] of its nodes. Nodes below N are points, and node N + i
    is the i-th merge in the order of weights.
    """
    count = len(edges_E2) + 1
    order = np.argsort(weights_E, kind="stable")
    children = np.empty((count - 1, 2), dtype=np.int64)
    size = np.ones(2 * count - 1, dtype=np.int64)
    above = list(range(2 * count - 1))
    for merge, (first, second) in enumerate(edges_E2[order].tolist()):
        node, left, right = count + merge, find_root(above, first), find_root(above, second)
        above[left] = above[right] = node
        children[merge] = left, right
        size[node] = size[left] + size[right]
    return children, weights_E[order], size


def condense(edges_E2: np.ndarray, weights_E: np.ndarray, smallest: int) -> CondensedTree:
    """Build the hierarchy of splits into parts of at least `smallest` points.

    The points of a smaller part leave their cluster. All merges at one weight count as one merge. So it does not matter
    which edges of that weight the spanning tree holds, or in what order.
    """
    children, weight, size = link_single(edges_E2, weights_E)
    count = len(children) + 1
    # leaves in the order of the dendrogram, so that those under a node are contiguous
    start = np.zeros(2 * count - 1, dtype=np.int64)
    for node in range(2 * count - 2, count - 1, -1):
        left, right = children[node - count]
        start[left], start[right] = start[node], start[node] + size[left]
    place = start[:count]
    cluster, density = np.zeros(count, dtype=np.int64), np.zeros(count)
    parent, birth = [-1], [0.0]
    with np.errstate(divide="ignore"):
        inverse = (1 / weight).tolist()
    pending = [(2 * count - 2, 0)]
    while pending:
        node, inside = pending.pop()
        level = weight[node - count]
        parts, stack = [], [node]
        while stack:  # collect all parts that this weight joins
            one = stack.pop()
            if one >= count and weight[one - count] == level:
                stack += children[one - count].tolist()
            else:
                parts.append(one)
        large = [part for part in parts if size[part] >= smallest]
        for part in parts:
            if size[part] < smallest:
                leaves = slice(start[part], start[part] + size[part])
                cluster[leaves], density[leaves] = inside, inverse[node - count]
        if len(large) == 1:
            pending.append((large[0], inside))
        for part in large if len(large) > 1 else ():
            pending.append((part, len(parent)))
            parent.append(inside)
            birth.append(inverse[node - count])
    return CondensedTree(np.array(parent), np.array(birth), cluster[place], density[place])


def compute_excess_of_mass(tree: CondensedTree) -> np.ndarray:
    """Sum up how long the points of each cluster stay in it, [C].

    A point stays from the lambda of the cluster's birth to the lambda at which it leaves. Campello, Moulavi and Sander
    (2013) call the sum the stability of a cluster.
    """
    clusters = len(tree.parent)
    held = np.bincount(tree.cluster, minlength=clusters)
    stability = np.bincount(tree.cluster, tree.density - tree.birth[tree.cluster], clusters)
    for child in range(clusters - 1, 0, -1):
        above = tree.parent[child]
        stability[above] += (tree.birth[child] - tree.birth[above]) * held[child]
        held[above] += held[child]
    return stability


def select_excess_of_mass(tree: CondensedTree) -> np.ndarray:
    """Select the clusters that are most stable in sum, bool [C]. None is within another, and none is the root.

    A cluster that is as stable as its parts stays whole.
    """
    stability = compute_excess_of_mass(tree)
    is_selected, below = np.ones(len(stability), dtype=bool), np.zeros(len(stability))
    for cluster in range(len(stability) - 1, 0, -1):
        is_selected[cluster] = stability[cluster] >= below[cluster] * (1 - ROUNDING)
        below[tree.parent[cluster]] += max(stability[cluster], below[cluster])
    is_selected[0] = False
    return _keep_outermost(tree, is_selected)


def select_leaves(tree: CondensedTree) -> np.ndarray:
    """Select the clusters that do not split, except the root: bool [C]."""
    is_selected = np.ones(len(tree.parent), dtype=bool)
    is_selected[tree.parent[1:]] = False
    is_selected[0] = False
    return is_selected


def _keep_outermost(tree: CondensedTree, is_selected: np.ndarray) -> np.ndarray:
    is_inside = np.zeros(len(is_selected), dtype=bool)
    for cluster, above in enumerate(tree.parent[1:].tolist(), start=1):
        is_inside[cluster] = is_inside[above] or is_selected[above]
    return is_selected & ~is_inside


SELECTIONS = {"excess_of_mass": select_excess_of_mass, "leaf": select_leaves}


def assign_points(tree: CondensedTree, is_selected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels [N], -1 for an outlier, and how long each point stays in its cluster, [N].

    The second value is in [0, 1], relative to the point that leaves the cluster last.
    """
    number = np.full(len(is_selected), -1)
    number[is_selected] = np.arange(is_selected.sum())
    for cluster, above in enumerate(tree.parent[1:].tolist(), start=1):
        if not is_selected[cluster]:
            number[cluster] = number[above]
    labels = number[tree.cluster]
    return labels, _measure_stay(tree, is_selected, labels, tree.density)


def predict_points(
    tree: CondensedTree,
    is_selected: np.ndarray,
    labels_N: np.ndarray,
    probability_N: np.ndarray,
    nearest_M: np.ndarray,
    reach_M: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict labels [M] and probabilities [M] of new points from their nearest known points.

    "Nearest" is by mutual reachability, reach_M [M]. A new point gets the label of that point. It is an outlier if its
    density, 1 / reach, is not above the density at the cluster's birth, because it would have joined before the cluster
    split off. At reach 0 both points are the same.
    """
    labels = labels_N[nearest_M]
    with np.errstate(divide="ignore"):
        density = 1 / reach_M.astype(np.float64)
    birth = tree.birth[np.flatnonzero(is_selected)]
    joins = labels >= 0
    joins[joins] = density[joins] > birth[labels[joins]]
    labels = np.where(joins, labels, -1)
    probability = _measure_stay(tree, is_selected, labels, density)
    return labels, np.where(joins & (reach_M == 0), probability_N[nearest_M], probability)


def _measure_stay(tree: CondensedTree, is_selected: np.ndarray, labels: np.ndarray, density: np.ndarray) -> np.ndarray:
    longest = tree.death[np.flatnonzero(is_selected)][labels] if is_selected.any() else np.ones(len(labels))
    with np.errstate(invalid="ignore"):
        # if points coincide, lambda has no bound, and they stay to the end
        probability = np.where(np.isfinite(density), np.minimum(density / longest, 1), 1.0)
    return np.where(labels < 0, 0.0, probability)
