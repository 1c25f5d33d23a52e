"""Disjoint sets as a forest: above[node] is a node of the same set, a root is above itself."""


def find_root(above: list[int], node: int) -> int:
    """The root of a node; the way to it is made shorter."""
    while above[node] != node:
        above[node] = above[above[node]]
        node = above[node]
    return node
