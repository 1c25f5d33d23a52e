"""Draw the pairs on which the pairwise scores judge candidates.

The images of a pair share their principal label, as far as it is known. No ground-truth factor is read.
"""

import numpy as np
import torch

from detaux.config.schema import Config
from detaux.data.image_rows import ImageRows
from detaux.data.neighbours import mine_pairs
from detaux.data.partners.registry import PARTNER_RULES
from detaux.data.relation import relate_labels
from detaux.data.split import Split

MOST_PAIRS = 4096
ANCHORS = 2048  # images for which neighbours are mined


def draw_judging_pairs(split: Split, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Draw at most MOST_PAIRS seeded pairs of different images, and return both rows [P].

    No pair has two known labels that differ. If `pairs.partner` mines a graph, the pairs are neighbours in a graph
    mined over `pairs.pool` images. Such neighbours mostly differ in one factor, as in training. Otherwise a pair is any
    two images of one label. If no two images share a label, there is no pair.
    """
    random = np.random.default_rng(config.run.seed)
    labels_N = split.labels.cpu().numpy()
    pool = random.permutation(len(labels_N))[: config.pairs.pool]
    if not PARTNER_RULES[config.pairs.partner].mines_graph or len(pool) < 2:
        return draw_same_label_pairs(labels_N, MOST_PAIRS, random)
    ends = mine_pairs(
        ImageRows.select(split.images, torch.from_numpy(pool)),
        torch.from_numpy(labels_N[pool]),
        config.pairs.nearest,
        config.data.noise,
        config.run.seed,
        anchors=torch.arange(min(len(pool), ANCHORS)),
    )
    first, second = np.unique(pool[ends.sort(1).values.numpy()], axis=0).T
    is_different, _ = relate_labels(labels_N[first], labels_N[second])
    chosen = random.permutation(np.flatnonzero(~is_different))[:MOST_PAIRS]
    return first[chosen], second[chosen]


def draw_same_label_pairs(
    labels_N: np.ndarray, count: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` random pairs of different points with one label, and return both rows. Label -1 is left out."""
    order = np.argsort(labels_N, kind="stable")
    _, starts, sizes = np.unique(labels_N[order], return_index=True, return_counts=True)
    start_N, size_N = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    places = np.flatnonzero((labels_N[order] >= 0) & (size_N > 1))
    if len(places) == 0:
        return places, places
    first = random.choice(places, count)
    # a step of 1 to size - 1 around the label's run never returns to the point itself
    steps = 1 + (random.random(count) * (size_N[first] - 1)).astype(np.int64)
    second = start_N[first] + (first - start_N[first] + steps) % size_N[first]
    return order[first], order[second]
