"""Let the oracle find which subspace each edge of the mined graph changes most (Eq. 3)."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from detaux.data.neighbours import NeighbourGraph
from detaux.data.pairs import PairStream
from detaux.data.prepare import BATCH_BYTES, fit_batch
from detaux.data.relation import relate_labels
from detaux.disentangle.model import Disentangler
from detaux.losses.oracle import compute_normalizer, weigh_subspaces
from detaux.runtime.collectives import gather_rows
from detaux.runtime.ranks import alone, rank, world_size

READ_BATCH = 1024  # most images or edges in a batch
READ_BYTES = 2 * BATCH_BYTES
NORMALIZER_SAMPLES = 512  # images of the pool for the normaliser; a mean over all pairs would cost P x P


class GraphReader:
    """Ask the oracle at regular steps which subspace each mined edge changes, and mark the edges with it.

    prepare  turns images into the model's input, like Phase.prepare
    """

    def __init__(
        self,
        pairs: PairStream,
        graph: NeighbourGraph,
        prepare: Callable[[Tensor, int, range, int], Tensor],
        normalizer: str,
    ) -> None:
        self.graph = graph
        self._pairs, self._prepare, self._normalizer = pairs, prepare, normalizer

    def is_due(self, step: int) -> bool:
        """Return whether the graph is read before this step. The step's pairs then depend on the result."""
        settings = self._pairs.config
        return settings.walk > 0 and step % settings.walk_interval == 0

    def read(self, model: Disentangler) -> None:
        """Mark the graph's edges by the current model. Each rank embeds its share of the pool."""
        labels = self._pairs.pool_labels
        subspaces = read_edges(model, self._prepare_share(), labels, *self.graph.edges(), self._normalizer)
        self.graph.mark(subspaces)

    def _prepare_share(self) -> Iterator[Tensor]:
        """Yield this rank's share of the pool in batches.

        All ranks have equally long shares: copies of the last image fill up the end.
        """
        images = self._pairs.pool_images
        share = -(-len(images) // world_size())
        end, size = (rank() + 1) * share, fit_batch(READ_BATCH, images.shape, READ_BYTES)
        for begin in range(rank() * share, end, size):
            wanted = range(begin, min(begin + size, end))
            rows = torch.arange(wanted.start, wanted.stop).clamp(max=len(images) - 1)
            yield self._prepare(images[rows], 0, wanted, world_size() * share)


@torch.no_grad()
def read_edges(
    model: Disentangler,
    batches: Iterable[Tensor],
    labels_P: Tensor,
    first_E: Tensor,
    second_E: Tensor,
    normalizer: str,
) -> Tensor:
    """Return the subspace [E] that the hard oracle gives to each edge between P images with labels [P], -1 if unknown.

    `batches` of images [n, C, H, W] are this rank's share of the P images. The shares are joined in rank order, and
    images beyond P are ignored.
    """
    was_training = model.training
    model.eval()
    subspaces_nKD = torch.cat([model.project(model.encode(batch)) for batch in batches])
    model.train(was_training)
    subspaces_PKD = gather_rows(subspaces_nKD)[: len(labels_P)]
    with alone():  # every rank now holds all subspaces
        scale_K = compute_normalizer(subspaces_PKD[:NORMALIZER_SAMPLES], normalizer)
    labels_P, first_E, second_E = (index.to(subspaces_PKD.device) for index in (labels_P, first_E, second_E))
    distances_EK = torch.cat(
        [
            (subspaces_PKD[first] - subspaces_PKD[second]).norm(dim=2)
            for first, second in zip(first_E.split(READ_BATCH), second_E.split(READ_BATCH), strict=True)
        ]
    )
    is_different_E, is_known_E = relate_labels(labels_P[first_E], labels_P[second_E])
    return weigh_subspaces(distances_EK / scale_K, is_different_E, is_known_E, sharpness=0.0, alpha=model.alpha).argmax(
        1
    )
