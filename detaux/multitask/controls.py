"""Make controls: labels that are trained on like the discovered ones, to show what causes a gain.

Each control is a row of CONTROLS. Arrays are int64 [N], one entry for each training image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from detaux.config.schema import MultitaskConfig
from detaux.multitask.trial import ORACLE

ROTATION = "rotation"  # labels are the quarter turns of the images, drawn with each batch
CORRELATED = "correlated"  # in the config it stands for several controls, whose names begin with it
SUBCLASSES = 5  # of each class, in the control correlated_split
HALVINGS = 60  # of the interval 0 to 1; its end is then exact in float64
TURNS = 4  # classes of rotation


@dataclass(frozen=True)
class Sources:
    """Hold what control labels are made from.

    These are the auxiliary labels [N] from 0 on, the principal labels [N] (-1 if an image has none), the number of
    principal classes, and the labels [N] of the oracle control, or None if it is not asked for.
    """

    auxiliary: np.ndarray
    principal: np.ndarray
    classes: int
    oracle: np.ndarray | None = None


@dataclass(frozen=True)
class Control:
    """Define a control: how many classes it has, and how its labels are drawn.

    `draw` is None if the labels are made with each batch.
    """

    count_classes: Callable[[Sources], int]
    draw: Callable[[Sources, np.random.Generator], np.ndarray] | None


def complete_principal(sources: Sources, draw: np.random.Generator) -> np.ndarray:
    """Return principal labels [N] in which each image has one. Only controls use them; the principal task never does.

    An image without a label takes that of a labelled image of its cluster, drawn at random, or of any labelled image
    if the cluster has none. So completed classes depend on clusters as the labels do. The majority of a cluster would
    not do: it makes the class a function of the cluster, and labels shuffled within classes stay those of the clusters.
    """
    completed, clusters = sources.principal.copy(), sources.auxiliary
    is_labelled = sources.principal >= 0
    for cluster in np.unique(clusters[~is_labelled]):
        candidates = sources.principal[is_labelled & (clusters == cluster)]
        lacking = ~is_labelled & (clusters == cluster)
        completed[lacking] = draw.choice(
            candidates if len(candidates) else sources.principal[is_labelled], lacking.sum()
        )
    return completed


def draw_random(sources: Sources, draw: np.random.Generator) -> np.ndarray:
    """Draw each label from the distribution of the auxiliary labels."""
    return draw.choice(sources.auxiliary, size=len(sources.auxiliary))


def permute(sources: Sources, draw: np.random.Generator) -> np.ndarray:
    """Shuffle the auxiliary labels over all images. Principal labels do not matter, so none is completed."""
    return draw.permutation(sources.auxiliary)


def permute_within_class(sources: Sources, draw: np.random.Generator) -> np.ndarray:
    """Shuffle the auxiliary labels within each completed class, which keeps their dependence on the class."""
    principal, made = complete_principal(sources, draw), sources.auxiliary.copy()
    for label in np.unique(principal):
        members = np.flatnonzero(principal == label)
        made[members] = sources.auxiliary[draw.permutation(members)]
    return made


def make_constant(sources: Sources, draw: np.random.Generator) -> np.ndarray:
    """Give all images one label: what is left is the second head and the images of its batches."""
    return np.zeros_like(sources.auxiliary)


def split_classes(sources: Sources, draw: np.random.Generator) -> np.ndarray:
    """Split each completed class y at random: 5y + U{0..4}."""
    principal = complete_principal(sources, draw)
    return SUBCLASSES * principal + draw.integers(SUBCLASSES, size=len(principal))


def copy_classes(sources: Sources, draw: np.random.Generator, nmi: float) -> np.ndarray:
    """Copy the completed classes, and replace so many at random that the NMI of copy and class is expected to be `nmi`.

    Replacements come from the distribution of the classes, which the copy therefore has too.
    """
    principal = complete_principal(sources, draw)
    chance = find_replaced_share(np.bincount(principal, minlength=sources.classes) / len(principal), nmi)
    return np.where(draw.random(len(principal)) < chance, draw.choice(principal, len(principal)), principal)


def find_replaced_share(frequencies: np.ndarray, nmi: float) -> float:
    """Return the share of labels to replace by draws from `frequencies` [K] so that the expected NMI is `nmi`.

    The NMI falls from 1 to 0 while the share rises from 0 to 1, so bisection finds it. A single class has no NMI, and
    nothing changes it: the share is 0.
    """
    frequencies = frequencies[frequencies > 0]
    if len(frequencies) < 2:
        return 0.0
    independent, entropy = np.outer(frequencies, frequencies), -np.sum(frequencies * np.log(frequencies))
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        share = (low + high) / 2
        joint = (1 - share) * np.diag(frequencies) + share * independent
        if np.sum(joint * np.log(joint / independent)) / entropy > nmi:
            low = share
        else:
            high = share
    return low


def take_oracle(sources: Sources, draw: np.random.Generator) -> np.ndarray:
    """Return the values of a ground-truth factor."""
    assert sources.oracle is not None
    return sources.oracle


def _count_auxiliary(sources: Sources) -> int:
    return int(sources.auxiliary.max()) + 1


def _count_oracle(sources: Sources) -> int:
    assert sources.oracle is not None
    return int(sources.oracle.max()) + 1


CONTROLS = {
    "random": Control(_count_auxiliary, draw_random),
    "permuted": Control(_count_auxiliary, permute),
    "within_class": Control(_count_auxiliary, permute_within_class),
    ROTATION: Control(lambda sources: TURNS, None),
    "constant": Control(lambda sources: 1, make_constant),
    f"{CORRELATED}_split": Control(lambda sources: SUBCLASSES * sources.classes, split_classes),
    ORACLE: Control(_count_oracle, take_oracle),
}


def list_controls(config: MultitaskConfig) -> list[str]:
    """Return the names of the control labels. `correlated` stands for a split and a copy for each NMI of the config."""
    names = []
    for name in config.controls:
        copies = [f"{CORRELATED}_{nmi:g}" for nmi in config.correlated_nmi]
        names += [f"{CORRELATED}_split", *copies] if name == CORRELATED else [name]
    return names


def find_control(name: str) -> Control:
    """Return a control by the name of its labels. Raises ValueError if there is none."""
    kind, _, nmi = name.partition("_")
    if name not in CONTROLS and kind == CORRELATED:
        return Control(lambda sources: sources.classes, partial(copy_classes, nmi=float(nmi)))
    if name not in CONTROLS:
        raise ValueError(f"no control of auxiliary labels is called {name!r}")
    return CONTROLS[name]


def build_control(name: str, sources: Sources, seed: int) -> Tensor | None:
    """Make the labels [N] of a control, or return None if they are made with each batch."""
    draw = find_control(name).draw
    return None if draw is None else torch.from_numpy(draw(sources, np.random.default_rng(seed)))
