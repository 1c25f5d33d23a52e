"""The paper's equations, one file each: tensors in, scalar out. README.md holds the symbols and the derivations."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from detaux.losses.consistency import consistency_loss
from detaux.losses.distance import distance_loss
from detaux.losses.neighbour_contrast import neighbour_contrast_loss
from detaux.losses.principal_contrast import principal_contrast_loss
from detaux.losses.reconstruction import reconstruction_loss
from detaux.losses.regularization import regularization_loss
from detaux.losses.sparsity import sparsity_loss


@dataclass(frozen=True)
class Term:
    """A term of the objective: its function, where it comes from, and which beta of Eq. (2) scales it (0: none does)."""

    function: Callable[..., Tensor]
    equation: str
    beta: int


# Name = file = key of losses.weights (the contrasts: keys of pairs) = name in the log.
TERMS = {
    "reconstruction": Term(reconstruction_loss, "Eq. (5)", 0),
    "distance": Term(distance_loss, "Eq. (7)", 1),
    "sparsity": Term(sparsity_loss, "Eq. (8)", 1),
    "consistency": Term(consistency_loss, "Eq. (9)", 2),
    "regularization": Term(regularization_loss, "Eq. (10)", 3),
    "principal_contrast": Term(principal_contrast_loss, "not of the paper", 1),
    "neighbour_contrast": Term(neighbour_contrast_loss, "not of the paper", 1),
}
