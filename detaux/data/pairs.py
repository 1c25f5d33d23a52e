"""The pair stream: which second image goes with which first one (`pairs.partner`).

B pairs a step, W images of the window or pool they are drawn from (P), F ground-truth factors. Everything random is a pure
function of (seed, step), so a run stopped anywhere draws the same pairs again, and so do ranks that share a step.

x1 walks the plan (mined, nearest: a seeded permutation of the pool); x2 is drawn by the rule:

mined        with chance `pairs.different` any image of another label, else a neighbour of the mined graph, or the end of a
             walk of up to `pairs.walk` further edges that the oracle gives to the same subspace
nearest      the same two cases, the neighbour being one of the `pairs.nearest` images of the pool
label        with chance `pairs.different` any image of another label, else any of the same (the paper's words)
one_factor   the same two cases, but as few ground-truth factors differ as can be: an upper bound, not a method
independent  any image at all (the released code's draw)

Images without a principal label (-1) serve in mined, nearest and independent pairs; a partner of another label, and the
rules label and one_factor, take labelled images alone.

Pairs come in chains x1-x2, x2-x3, ... of r = `pairs.reuse` links, so that with r > 1 an image encoded once serves in two.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from detaux.config.schema import DataConfig, PairsConfig
from detaux.data.draws import draw_columns, seed_generator
from detaux.data.nearest import mine_nearest
from detaux.data.neighbours import NeighbourGraph, mine_neighbours
from detaux.data.stream import SampleStream, Window
from detaux.errors import UserError


@dataclass(frozen=True)
class PairBatch:
    """B pairs over M images that lie in chains: pair b is the images b and b + chains, so B = M - chains.

    images uint8 [M, H, W, C]; labels [M], -1 where there is none; factors [M, F] or None.
    """

    images: Tensor
    labels: Tensor
    chains: int
    factors: Tensor | None

    @property
    def first(self) -> slice:
        """Where the first image of each pair is."""
        return slice(None, -self.chains)

    @property
    def second(self) -> slice:
        """Where the second image of each pair is."""
        return slice(self.chains, None)

    @property
    def is_different(self) -> Tensor:
        """Whether both images of a pair have a principal label and the labels differ, [B] bool."""
        first, second = self.labels[self.first], self.labels[self.second]
        return (first >= 0) & (second >= 0) & (first != second)


def compute_one_factor_share(batch: PairBatch) -> Tensor | None:
    """Share of the batch's pairs whose labels are equal and who differ in exactly one known factor (scoring only), scalar;
    None where no factor is known."""
    if batch.factors is None:
        return None
    changed = (batch.factors[batch.first] != batch.factors[batch.second]).sum(1)
    return ((changed == 1) & ~batch.is_different).float().mean()


def draw_from(allowed_BW: Tensor, generator: torch.Generator) -> Tensor:
    """A uniformly drawn allowed column of each row [B]; -1 where a row allows none."""
    keys = torch.rand(allowed_BW.shape, generator=generator).masked_fill_(~allowed_BW, -1.0)
    best = keys.max(1)
    return torch.where(best.values >= 0, best.indices, -1)


@dataclass(frozen=True)
class LabelIndex:
    """The L labelled of W images in the order of their labels: order [L]; rank [W], the place of an image in it; start and
    count [C], the run of each class."""

    labels: Tensor
    order: Tensor
    rank: Tensor
    start: Tensor
    count: Tensor

    @classmethod
    def build(cls, labels_W: Tensor) -> "LabelIndex":
        order = labels_W.argsort(stable=True)[int((labels_W < 0).sum()) :]
        rank = torch.zeros_like(labels_W).scatter_(0, order, torch.arange(len(order)))
        count = torch.bincount(labels_W[order], minlength=1)
        return cls(labels_W, order, rank, count.cumsum(0) - count, count)

    def settle(self, anchors_B: Tensor, wants_different_B: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the partner of each anchor has another label, [B], and of how many images it is one: a wish that no image
        meets becomes the other one, and an anchor without a label (-1) has no partner."""
        labels_B = self.labels[anchors_B]
        same_B = torch.where(labels_B >= 0, self.count[labels_B] - 1, 0)
        other_B = torch.where(labels_B >= 0, len(self.order) - 1 - same_B, 0)
        takes_different_B = torch.where(wants_different_B, other_B > 0, same_B == 0)
        return takes_different_B, torch.where(takes_different_B, other_B, same_B)

    def draw(self, anchors_B: Tensor, wants_different_B: Tensor, generator: torch.Generator) -> Tensor:
        """A uniformly drawn partner of each anchor [B], of another label or of the same and not itself; -1 where none is."""
        takes_different_B, allowed_B = self.settle(anchors_B, wants_different_B)
        place_B = (torch.rand(anchors_B.shape, generator=generator, dtype=torch.float64) * allowed_B).long()
        label_B = self.labels[anchors_B].clamp_min(0)
        start_B, count_B = self.start[label_B], self.count[label_B]
        beyond_B = place_B + count_B * (place_B >= start_B)  # over the run of the anchor's own label
        beside_B = start_B + place_B
        beside_B += beside_B >= self.rank[anchors_B]  # over the anchor
        chosen_B = torch.where(takes_different_B, beyond_B, beside_B)[allowed_B > 0]
        return torch.full_like(anchors_B, -1).masked_scatter_(allowed_B > 0, self.order[chosen_B])

    def allow(self, anchors_B: Tensor, wants_different_B: Tensor) -> Tensor:
        """All that `draw` draws from, [B, W]."""
        takes_different_B, allowed_B = self.settle(anchors_B, wants_different_B)
        is_same_BW = self.labels == self.labels[anchors_B, None]
        allowed_BW = (is_same_BW != takes_different_B[:, None]) & (self.labels >= 0) & (allowed_B[:, None] > 0)
        return allowed_BW.scatter_(1, anchors_B[:, None], False)


@lru_cache(maxsize=2)  # a step may take the end of one epoch and the begin of the next
def draw_order(size: int, seed: int, epoch: int) -> Tensor:
    """The order of a pool's images in an epoch; not to be written to."""
    return torch.randperm(size, generator=seed_generator(seed, 2**31, epoch))


def keep_fewest_changes(allowed_BW: Tensor, factors_WF: Tensor, anchors_B: Tensor) -> Tensor:
    """Of the allowed partners, those that differ from the anchor in the fewest factors, but in one at least."""
    changed = (factors_WF[anchors_B, None] != factors_WF).sum(2)
    changed = changed.masked_fill(~allowed_BW | (changed == 0), factors_WF.shape[1] + 1)
    return allowed_BW & (changed == changed.amin(1, keepdim=True))


def walk_edges(graph: NeighbourGraph, anchors_B: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Ends [B] of walks: one edge, then up to `most` more that the oracle gives to the first edge's subspace; -1 where
    the anchor has no edge."""
    edge = draw_from(graph.neighbours[anchors_B] >= 0, generator)
    has_edge = edge >= 0
    ends = torch.where(has_edge, graph.neighbours[anchors_B, edge], -1)
    subspace = torch.where(has_edge, graph.subspaces[anchors_B, edge], -1)
    lengths = torch.randint(most + 1, (len(anchors_B),), generator=generator)
    for length in range(most):
        here = ends.clamp(min=0)
        allowed = (graph.subspaces[here] == subspace[:, None]) & (graph.neighbours[here] >= 0)
        allowed &= graph.neighbours[here] != anchors_B[:, None]
        allowed &= (has_edge & (lengths > length) & (subspace >= 0))[:, None]
        step = draw_from(allowed, generator)
        ends = torch.where(step >= 0, graph.neighbours[here, step], ends)
        lengths = torch.where(step >= 0, lengths, 0)  # a walk that cannot go on ends here
    return ends


class PairStream:
    """Pairs of a training split, step by step.

    `batch(step)` is a pure function of the split, the config, `seed`, `step` and, for mined pairs, the oracle's last
    reading of the graph (`graph.mark`), which belongs into the checkpoint.
    """

    def __init__(
        self, stream: SampleStream, data: DataConfig, pairs: PairsConfig, *, batch_size: int, seed: int
    ) -> None:
        self.stream, self.config, self.batch_size, self.seed = stream, pairs, batch_size, seed
        self.window_size = min(data.window, stream.samples)
        self.graph: NeighbourGraph | None = None
        self.nearest: Tensor | None = None  # [P, pairs.nearest]
        self.pool: Window | None = None
        if pairs.partner in ("mined", "nearest"):
            self.pool = stream.window(0, min(pairs.pool, stream.samples)).hold()  # every step takes from it
            if pairs.partner == "mined":
                self.graph = mine_neighbours(self.pool_images(), self.pool.labels, pairs.nearest, data.noise, seed)
            else:
                self.nearest = mine_nearest(self.pool_images(), pairs.nearest, data.noise, seed)
            self.pool_index = LabelIndex.build(self.pool.labels)
        first = self.pool or stream.window(0, self.window_size)
        classes = len(first.labels[first.labels >= 0].unique())
        if classes < 2 and pairs.partner != "independent":
            raise UserError(
                f"the first {len(first.labels)} training images have principal labels of {classes} "
                f"class{'' if classes == 1 else 'es'}; pairs.partner={pairs.partner} needs two: raise "
                "data.labelled_fraction, or pairs.pool (mined, nearest) or data.window."
            )
        if pairs.partner == "one_factor" and first.factors is None:
            raise UserError("pairs.partner=one_factor needs known factors, and the manifest names none; use mined.")

    def pool_images(self, index: Tensor | None = None) -> Tensor:
        """The pool's images, or those at `index` of it, uint8 [n, H, W, C]."""
        assert self.pool is not None
        return self.pool.images(torch.arange(len(self.pool.labels)) if index is None else index)

    @property
    def pool_labels(self) -> Tensor:
        """The pool's principal labels [P], -1 where none."""
        assert self.pool is not None
        return self.pool.labels

    @property
    def chains(self) -> int:
        """Chains of pairs in a step, all ranks together."""
        return self.batch_size // self.config.reuse

    def batch(self, step: int, wanted: range | None = None) -> PairBatch:
        """The pairs of one step, or those of them in the chains `wanted`."""
        wanted = range(self.chains) if wanted is None else wanted
        source, begin = self.pool, step * self.chains
        if source is None:
            source = self.stream.window(begin, self.window_size)
        nodes = draw_columns(
            lambda chains, generator: self._draw_nodes(source, begin, chains, generator),
            self.chains,
            wanted,
            self.seed,
            step,
        )
        images = nodes.flatten()
        return PairBatch(
            images=source.images(images),
            labels=source.labels[images],
            chains=len(wanted),
            factors=None if source.factors is None else source.factors[images],
        )

    def _draw_nodes(self, source: Window, begin: int, chains: range, generator: torch.Generator) -> Tensor:
        """Images of some chains of the step whose first chain is number `begin` of all, [reuse + 1, chains]."""
        anchors = self._anchors(begin, chains)
        wants_different = self._want_different(anchors, generator)
        nodes = [self._place_labelled(source, anchors, wants_different, generator)]
        for link in range(self.config.reuse):
            wants_different = self._want_different(anchors, generator) if link else wants_different
            nodes.append(self._partners(source, nodes[-1], wants_different, generator))
        return torch.stack(nodes)

    def _anchors(self, begin: int, chains: range) -> Tensor:
        if self.pool is None:
            return torch.arange(chains.start, chains.stop) % self.window_size
        size = len(self.pool.labels)
        positions = torch.arange(begin + chains.start, begin + chains.stop)
        anchors = torch.empty_like(positions)
        for epoch in (positions // size).unique().tolist():
            inside = positions // size == epoch
            anchors[inside] = draw_order(size, self.seed, epoch)[positions[inside] % size]
        return anchors

    def _want_different(self, anchors: Tensor, generator: torch.Generator) -> Tensor:
        """Which anchors [B] ask for a partner of another label."""
        if self.config.partner == "independent":
            return torch.zeros_like(anchors, dtype=torch.bool)
        return torch.rand(anchors.shape, generator=generator) < self.config.different

    def _place_labelled(self, source: Window, anchors: Tensor, wants: Tensor, generator: torch.Generator) -> Tensor:
        """The anchors, an unlabelled one replaced by a random labelled image where its partner is drawn by label."""
        drawn_by_label = wants if self.config.partner in ("mined", "nearest", "independent") else torch.ones_like(wants)
        replaced = drawn_by_label & (source.labels[anchors] < 0)
        if not replaced.any():
            return anchors
        labelled = torch.nonzero(source.labels >= 0).squeeze(1)
        others = labelled[torch.randint(len(labelled), anchors.shape, generator=generator)]
        return torch.where(replaced, others, anchors)

    def _partners(self, source: Window, anchors: Tensor, wants_different: Tensor, generator: torch.Generator) -> Tensor:
        if self.config.partner == "independent":
            return torch.randint(len(source.labels), anchors.shape, generator=generator)
        index = self.pool_index if source is self.pool else LabelIndex.build(source.labels)
        if self.config.partner == "one_factor":
            assert source.factors is not None
            allowed = keep_fewest_changes(index.allow(anchors, wants_different), source.factors, anchors)
            partners = draw_from(allowed, generator)
        else:
            partners = index.draw(anchors, wants_different, generator)
        if self.graph is not None:
            walked = walk_edges(self.graph, anchors, self.config.walk, generator)
            partners = torch.where((wants_different & (partners >= 0)) | (walked < 0), partners, walked)
        if self.nearest is not None:
            near = self.nearest[anchors, torch.randint(self.nearest.shape[1], anchors.shape, generator=generator)]
            partners = torch.where(wants_different & (partners >= 0), partners, near)
        return torch.where(partners < 0, anchors, partners)
