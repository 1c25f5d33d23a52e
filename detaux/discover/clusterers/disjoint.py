"""Keep disjoint sets as a forest: above[node] is a node of the same set, and a root is above itself."""

import numpy as np


def find_root(above: list[int], node: int) -> int:
    """Return the root of a node, and shorten the path to it."""
    while above[node] != node:
        above[node] = above[above[node]]
        node = above[node]
    return node


def number_sets(above: list[int]) -> np.ndarray:
    """Return the set of each node, numbered from 0: int64 [nodes]."""
    roots = np.array(above)
    while (roots != roots[roots]).any():
        roots = roots[roots]
    return np.unique(roots, return_inverse=True)[1]
