"""Declare the keys of the training pairs: how a second image is found, and what a pair weighs."""

from dataclasses import dataclass
from typing import Literal

from detaux.config.key import key


@dataclass(frozen=True)
class PairsConfig:
    partner: Literal["mined", "nearest", "label", "one_factor", "independent"] = key(
        "mined",
        "second image of a pair: a mined neighbour, one of the nearest images, any image by label (paper), an image that "
        "differs in one ground-truth factor, or any image (official)",
    )
    different: float = key(0.2, "chance that the second image has another principal label", 0.0, 1.0)
    pull: float = key(
        0.0, "weight of pulling free subspaces together when principal labels differ; Eq. (7) has 1", 0.0, 10.0
    )
    principal_contrast: float = key(1.0, "weight of the label contrast on the principal subspace; paper has 0", 0.0)
    neighbour_contrast: float = key(
        0.0, "weight of the contrast that keeps near images together in the last subspace, which it then reserves", 0.0
    )
    walk: int = key(2, "mined: most further edges, all of the same subspace, by which a pair is extended", 0, 16)
    walk_interval: int = key(100, "mined: steps between two readings of the oracle for the walk", 1)
    pool: int = key(65536, "mined, nearest: training images among which neighbours are sought", 16, 10**6)
    nearest: int = key(
        256,
        "nearest images of an image: mined tries them as neighbours, nearest draws from them (then 10 to 15 work well)",
        1,
        4096,
    )
    reuse: int = key(1, "pairs that one encoded image serves in", 1, 64)
