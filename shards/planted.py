"""Leave images out of a set, so that it is sparse or so that a known factor follows the principal label.

The test split stays as it is. So it shows what a model does once the factor no longer follows the label.
"""

import math
from typing import Any

import numpy as np

from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.principal import Principal
from shards.records import Source

STREAM = 1  # keeps these draws apart from those of the split, which has the same seed


def choose_kept(source: Source, principal: Principal, names: np.ndarray, config: DataConfig) -> np.ndarray:
    """Return which samples are kept, bool [count]. `names` [count] is the split of each sample.

    Within each class, at most a share `data.grid_fraction` of the training and validation images stays. A factor of
    `data.correlate` has its share of images whose value is the class number modulo the factor's number of values, up to
    rounding. Several factors follow the class independently of each other. Images without a label follow nothing.
    Training and validation images are left out alike.

    A smaller fraction keeps a subset of what a larger one keeps, unless a factor is correlated. Raises UserError for an
    unknown factor, for the principal one, for a share that the images of a class cannot give, and if no validation
    image is left.
    """
    factors = _list_correlated(source, principal, config.correlate)
    kept = np.ones(source.count, dtype=bool)
    if config.grid_fraction == 1 and not factors:
        return kept
    draw = np.random.default_rng((config.split_seed, STREAM))
    columns = np.array([list(source.factors).index(name) for name in factors], dtype=np.int64)
    sizes = np.array([source.factors[name] for name in factors], dtype=np.int64)
    for label in np.unique(principal.labels[names != "test"]):
        members = draw.permutation(np.flatnonzero((names != "test") & (principal.labels == label)))
        values = source.factor_values[members][:, columns]
        followed = factors if label >= 0 else {}
        follows = (values == label % sizes)[:, : len(followed)]
        place = f"the images of class {principal.classes[label]}"
        most = max(1, round(config.grid_fraction * len(members)))
        cell_of = follows @ (1 << np.arange(len(followed), dtype=np.int64))
        counts = _count_cells(place, follows, cell_of, followed, most)
        kept[members] = False
        for cell, count in enumerate(counts):
            kept[_mix_splits(members[cell_of == cell], names)[:count]] = True
    if not (kept & (names == "validation")).any() and (names == "validation").any():
        raise UserError(
            f"data.grid_fraction={config.grid_fraction:g} and data.correlate={config.correlate} leave no validation image of "
            f"{source.name}; a larger fraction is needed."
        )
    return kept


def describe_planted(config: DataConfig) -> dict[str, Any]:
    """Return what is planted in a set, as its manifest records it beside the split; {} if nothing is."""
    facts: dict[str, Any] = {}
    if config.grid_fraction < 1:
        facts["grid_fraction"] = config.grid_fraction
    if config.correlate:
        facts["correlate"] = config.correlate
    if config.paint.what != "off":
        facts |= {"paint": config.paint.what, "paint_fraction": config.paint.fraction}
    return facts


def _list_correlated(source: Source, principal: Principal, shares: dict[str, float]) -> dict[str, float]:
    """Return the factors that follow the label with their shares, in the order of the source."""
    others = [name for name, size in source.factors.items() if name != principal.name and size > 1]
    for name in shares:
        if name == principal.name:
            raise UserError(f"data.correlate names {name}, which is behind the principal label; name another factor.")
        if name not in others:
            raise UserError(
                f"data.correlate names {name}, which is no factor of {source.name} that varies beside {principal.name}; it has "
                f"{', '.join(others) or 'none'}."
            )
    return {name: shares[name] for name in others if name in shares}


def _check_shares(place: str, follows: np.ndarray, shares: dict[str, float]) -> None:
    """Raise UserError if `follows` [n, F], which is true if a sample's value follows, is constant against a share."""
    for (name, share), column in zip(shares.items(), follows.T, strict=True):
        if (share > 0 and not column.any()) or (share < 1 and column.all()):
            raise UserError(
                f"data.correlate: {name}={share:g}, but {name} follows the label in {column.sum()} of {place}, {len(column)} in "
                f"all; {'1 is the least' if column.all() else '0 is the most'} that is possible."
            )


def _count_cells(
    place: str, follows: np.ndarray, cell_of: np.ndarray, shares: dict[str, float], most: int
) -> np.ndarray:
    """Count how many of at most `most` samples of a class each cell gives, so that every factor follows with its share.

    A cell is a set of factors that follow while the others do not; its share is the product of theirs. `follows` [n, F]
    says which factors of a sample follow, and `cell_of` [n] reads it as a binary number.
    """
    _check_shares(place, follows, shares)
    bits = np.arange(1 << len(shares))[:, None] >> np.arange(len(shares)) & 1
    given = np.array(list(shares.values()))
    share_of = np.where(bits == 1, given, 1 - given).prod(1)
    have = np.bincount(cell_of, minlength=len(bits))
    # a tiny number absorbs rounding, since 3 / (1 - 0.7) is just below 10
    size = min(most, *(math.floor(n / share + 1e-9) for n, share in zip(have, share_of, strict=True) if share > 0))
    if size == 0:
        lacking = bits[int(np.flatnonzero((have == 0) & (share_of > 0))[0])]
        state = ", ".join(
            f"{name} {'follows' if bit else 'does not'}" for name, bit in zip(shares, lacking, strict=True)
        )
        raise UserError(
            f"data.correlate: none of {place} has a value of each factor as it is needed ({state}); correlate fewer factors."
        )
    exact = share_of * size
    counts = np.floor(exact + 1e-9).astype(np.int64)
    largest = np.argsort(counts - exact, kind="stable")  # the largest remainders get what rounding down left
    counts[largest[: size - counts.sum()]] += 1
    return counts


def _mix_splits(members: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Order samples so that the first ones, however many, have about the same share of every split.

    The order within a split stays, and a training sample is the first of all, so that every class is trained on.
    """
    place = np.empty(len(members))
    for split in np.unique(names[members]):
        own = names[members] == split
        place[own] = (np.arange(own.sum()) + (0.5 if split == "validation" else 0)) / own.sum()
    return members[np.argsort(place, kind="stable")]
