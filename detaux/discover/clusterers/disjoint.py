"""Disjoint sets as a forest: above[node] is a node of the same set, a root is above itself."""

import numpy as np


def find_root(above: list[int], node: int) -> int:
    """The root of a node; the way to it is made shorter."""
    while above[node] != node:
        above[node] = above[above[node]]
        node = above[node]
    return node


def number_sets(above: list[int]) -> np.ndarray:
    """The set of each node, numbered from 0: int64 [nodes]."""
    roots = np.array(above)
    while (roots != roots[roots]).any():
        roots = roots[roots]
    return np.unique(roots, return_inverse=True)[1]
