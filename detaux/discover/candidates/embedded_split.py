"""Hold what candidates are made from: the embeddings by one disentangler."""

from dataclasses import dataclass

import numpy as np

from detaux.disentangle.embed import Embeddings


@dataclass(frozen=True)
class EmbeddedSplit:
    """Hold the embeddings of a split by one disentangler, and the principal labels [N].

    `alpha` is the principal subspace. `restart` is the number of the disentangler, counted from 0. A label is -1 if the
    image has none.
    """

    embeddings: Embeddings
    alpha: int
    labels_N: np.ndarray
    restart: int = 0

    def list_free(self) -> list[int]:
        """Return all subspaces except the principal one."""
        return [index for index in range(self.embeddings.subspaces_NKD.shape[1]) if index != self.alpha]
