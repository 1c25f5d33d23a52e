"""What one disentangler gives to make candidates of."""

from dataclasses import dataclass

import numpy as np

from detaux.discover.embed import Embeddings


@dataclass(frozen=True)
class EmbeddedSplit:
    """Hold the embeddings of a split by one disentangler, whose principal subspace is `alpha`, and the principal labels [N].

    `restart` counts the disentanglers. A label is -1 for an image without one.
    """

    embeddings: Embeddings
    alpha: int
    labels_N: np.ndarray
    restart: int = 0

    def list_free(self) -> list[int]:
        """Return all subspaces but the principal one."""
        return [index for index in range(self.embeddings.subspaces_NKD.shape[1]) if index != self.alpha]
