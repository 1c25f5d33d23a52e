"""Pair an image with a neighbour in a graph that is mined from the images, so that most pairs differ in one factor.

With chance `pairs.different` the partner is any image of another principal label. Otherwise it is a neighbour in the
relative-neighbourhood graph of the pool (detaux/data/neighbours.py), or the end of a walk of up to `pairs.walk` further
edges that the oracle gives to the same subspace.

Two images of one principal class are joined unless a third is closer to both. If a pair differs in two factors, an
image that shares one factor with each end cuts it. So most edges differ in one factor, whatever the scales of the
factors.

If labels are missing, all images are one neighbourhood. The oracle may then give an edge to the principal subspace too,
if a label of its ends is unknown.

An image without a label (-1) serves as a first image and as a neighbour, never as a partner of another label.
"""

import torch
from torch import Tensor

from detaux.data.label_index import LabelIndex
from detaux.data.neighbours import NeighbourGraph, mine_neighbours
from detaux.data.partners.base import PartnerRule, draw_allowed
from detaux.data.window import Window


class MinedPartners(PartnerRule):
    """Take a neighbour in the mined graph, or walk further along edges of one subspace."""

    needs_pool = True
    mines_graph = True
    index: LabelIndex

    def mine(self, pool: Window, noise: float, seed: int) -> None:
        self.graph = mine_neighbours(pool.all_images, pool.labels, self.config.nearest, noise, seed)
        self.index = LabelIndex.build(pool.labels)

    def draw(self, window: Window, anchors_B: Tensor, wants_different_B: Tensor, generator: torch.Generator) -> Tensor:
        assert self.graph is not None
        partners = self.index.draw(anchors_B, wants_different_B, generator)
        walked = walk_edges(self.graph, anchors_B, self.config.walk, generator)
        return torch.where((wants_different_B & (partners >= 0)) | (walked < 0), partners, walked)


def walk_edges(graph: NeighbourGraph, anchors_B: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Draw the ends [B] of walks: one edge, then up to `most` more that the oracle gives to the first edge's subspace.

    The end is -1 if the anchor has no edge.
    """
    edge = draw_allowed(graph.neighbours[anchors_B] >= 0, generator)
    has_edge = edge >= 0
    ends = torch.where(has_edge, graph.neighbours[anchors_B, edge], -1)
    subspace = torch.where(has_edge, graph.subspaces[anchors_B, edge], -1)
    lengths = torch.randint(most + 1, (len(anchors_B),), generator=generator)
    for length in range(most):
        here = ends.clamp(min=0)
        allowed = (graph.subspaces[here] == subspace[:, None]) & (graph.neighbours[here] >= 0)
        allowed &= graph.neighbours[here] != anchors_B[:, None]
        allowed &= (has_edge & (lengths > length) & (subspace >= 0))[:, None]
        step = draw_allowed(allowed, generator)
        ends = torch.where(step >= 0, graph.neighbours[here, step], ends)
        lengths = torch.where(step >= 0, lengths, 0)  # a walk that cannot continue ends here
    return ends
