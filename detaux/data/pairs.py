"""Draw the training pairs, step by step.

B pairs a step, W images of the window that they are drawn from, or P images of the pool, F ground-truth factors.
Everything random is a pure function of (seed, step). So a run that was stopped anywhere draws the same pairs again, and
ranks that share a step agree.

The first images follow the plan, or a seeded permutation of the pool if the rule has one. A rule in
detaux/data/partners/ draws each second image (`pairs.partner`). Pairs come in chains x1-x2, x2-x3, ... of
r = `pairs.reuse` links. If r > 1, an image that is encoded once serves in two pairs.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from detaux.config.schema import DataConfig, PairsConfig
from detaux.data.draws import draw_columns, seed_generator
from detaux.data.image_rows import ImageRows
from detaux.data.neighbours import NeighbourGraph
from detaux.data.partners.registry import PARTNER_RULES
from detaux.data.relation import relate_labels
from detaux.data.stream import SampleStream
from detaux.data.window import Window
from detaux.errors import UserError


@dataclass(frozen=True)
class PairBatch:
    """Hold B pairs over M images that form chains. Pair b joins the images b and b + chains, so B = M - chains.

    images uint8 [M, H, W, C]; labels [M], -1 if there is none; factors [M, F] or None.
    """

    images: Tensor
    labels: Tensor
    chains: int
    factors: Tensor | None

    @property
    def first(self) -> slice:
        """Return the places of the first images of all pairs."""
        return slice(None, -self.chains)

    @property
    def second(self) -> slice:
        """Return the places of the second images of all pairs."""
        return slice(self.chains, None)

    @property
    def is_different(self) -> Tensor:
        """Return whether both images of a pair have a principal label and the labels differ, bool [B]."""
        return relate_labels(self.labels[self.first], self.labels[self.second])[0]


def compute_one_factor_share(batch: PairBatch) -> Tensor | None:
    """Return the share of pairs that differ in one known factor and not in their labels, or None if no factor is known.

    It only scores the pairs.
    """
    if batch.factors is None:
        return None
    changed = (batch.factors[batch.first] != batch.factors[batch.second]).sum(1)
    return ((changed == 1) & ~batch.is_different).float().mean()


@lru_cache(maxsize=2)  # a step may take the end of one epoch and the start of the next
def draw_order(size: int, seed: int, epoch: int) -> Tensor:
    """Return the order of a pool's images in an epoch. Callers must not write to it, because it is cached."""
    return torch.randperm(size, generator=seed_generator(seed, 2**31, epoch))


class PairStream:
    """Draw the pairs of a training split, step by step.

    `batch(step)` is a pure function of the split, the config, `seed`, `step` and, if the rule has a graph, the
    subspaces that the oracle last gave to its edges (`graph.mark`). Those belong in the checkpoint.
    """

    def __init__(
        self, stream: SampleStream, data: DataConfig, pairs: PairsConfig, *, batch_size: int, seed: int
    ) -> None:
        self.stream, self.config, self.batch_size, self.seed = stream, pairs, batch_size, seed
        self.window_size = min(data.window, stream.samples)
        self.rule = PARTNER_RULES[pairs.partner](pairs)
        self.pool: Window | None = None
        if self.rule.needs_pool:
            # hold the pool in memory if it fits, because every step takes from it
            self.pool = stream.window(0, min(pairs.pool, stream.samples)).hold(data.cache_bytes)
            self.rule.mine(self.pool, data.noise, seed)
        self._check(self.pool or stream.window(0, self.window_size))

    def _check(self, first: Window) -> None:
        """Raise UserError if the first images lack what the rule needs."""
        name, classes = self.config.partner, len(first.labels[first.labels >= 0].unique())
        if classes < 2 and self.rule.needs_classes:
            raise UserError(
                f"the first {len(first.labels)} training images have principal labels of {classes} "
                f"class{'' if classes == 1 else 'es'}; pairs.partner={name} needs two: raise "
                f"data.labelled_fraction or {'pairs.pool' if self.rule.needs_pool else 'data.window'}."
            )
        if self.rule.needs_factors and first.factors is None:
            raise UserError(f"pairs.partner={name} needs known factors, and the manifest names none; use mined.")

    @property
    def graph(self) -> NeighbourGraph | None:
        """Return the graph that the rule walks on, or None. The oracle gives each of its edges to a subspace."""
        return self.rule.graph

    @property
    def pool_images(self) -> ImageRows:
        """Return the pool's images, each read when it is taken."""
        assert self.pool is not None
        return self.pool.all_images

    @property
    def pool_labels(self) -> Tensor:
        """Return the pool's principal labels [P], -1 for an image without one."""
        assert self.pool is not None
        return self.pool.labels

    @property
    def chains(self) -> int:
        """Return the number of chains in a step, all ranks together."""
        return self.batch_size // self.config.reuse

    def batch(self, step: int, wanted: range | None = None) -> PairBatch:
        """Return the pairs of one step, or only those in the chains `wanted`."""
        wanted = range(self.chains) if wanted is None else wanted
        window, begin = self.pool, step * self.chains
        if window is None:
            window = self.stream.window(begin, self.window_size)
        nodes = draw_columns(
            lambda chains, generator: self._draw_nodes(window, begin, chains, generator),
            self.chains,
            wanted,
            self.seed,
            step,
        )
        images = nodes.flatten()
        return PairBatch(
            images=window.images(images),
            labels=window.labels[images],
            chains=len(wanted),
            factors=None if window.factors is None else window.factors[images],
        )

    def _draw_nodes(self, window: Window, begin: int, chains: range, generator: torch.Generator) -> Tensor:
        """Draw the images of some chains of a step, [reuse + 1, chains]. The step's first chain has number `begin`."""
        anchors = self._anchors(begin, chains)
        wants_different = self.rule.want_different(anchors, generator)
        nodes = [self._place_labelled(window, anchors, wants_different, generator)]
        for link in range(self.config.reuse):
            wants_different = self.rule.want_different(anchors, generator) if link else wants_different
            partners = self.rule.draw(window, nodes[-1], wants_different, generator)
            nodes.append(torch.where(partners < 0, nodes[-1], partners))
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

    def _place_labelled(self, window: Window, anchors: Tensor, wants: Tensor, generator: torch.Generator) -> Tensor:
        """Replace an unlabelled anchor by a random labelled image if its partner is drawn by label."""
        replaced = self.rule.need_label(wants) & (window.labels[anchors] < 0)
        if not replaced.any():
            return anchors
        labelled = torch.nonzero(window.labels >= 0).squeeze(1)
        others = labelled[torch.randint(len(labelled), anchors.shape, generator=generator)]
        return torch.where(replaced, others, anchors)
