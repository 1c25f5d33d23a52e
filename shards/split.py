"""Split a dataset into training, validation and test samples."""

import numpy as np

from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.principal import Principal
from shards.records import Source


def split_samples(source: Source, principal: Principal, config: DataConfig) -> np.ndarray:
    """Return the split name of every sample [count].

    The test split of `data.split` is: random, a share of every class; combination, the images with floor and wall hue
    both in the upper half of their values (paper, section 5.1); published, the data set's own; group, a share of the
    groups, so that no group is in two splits. If a published split lacks a test part, it is drawn like random.

    The validation split is a share of every class of what remains, unless it is published or consists of groups too.
    Samples without a label are for training. Draws depend only on the labels, the config and data.split_seed.

    Raises UserError if a class has too few samples for each split that is drawn from it.
    """
    draw = np.random.default_rng(config.split_seed)
    names = np.full(source.count, "train", dtype="<U10")
    if config.split == "published":
        if source.published_split is None:
            raise UserError(f"data.split=published, but {source.name} has no published split; use random.")
        names[:] = source.published_split
    elif config.split == "combination":
        names[_find_combinations(source)] = "test"
    elif config.split == "group":
        names[:] = _draw_groups(source, principal, config, draw)
    fractions = {"test": config.test_fraction, "validation": config.validation_fraction}
    drawn = {split: share for split, share in fractions.items() if split not in names}
    needed = 1 + sum(share > 0 for share in drawn.values())
    for label, name in enumerate(principal.classes):
        members = np.flatnonzero((principal.labels == label) & (names == "train"))
        if len(members) < needed:
            raise UserError(
                f"class {name} of {source.name} has {len(members)} samples to train on and to draw "
                f"{' and '.join(split for split, share in drawn.items() if share > 0) or 'nothing'} from; {needed} are needed."
            )
        members = draw.permutation(members)
        for position, (split, share) in enumerate(drawn.items()):
            if share > 0:
                later = sum(other > 0 for other in list(drawn.values())[position + 1 :])
                count = min(max(round(share * len(members)), 1), len(members) - 1 - later)
                names[members[:count]] = split
                members = members[count:]
    return names


def describe_mixing(source: Source, principal: Principal, names: np.ndarray, rule: str) -> str | None:
    """Say what the splits `names` [count] mix, though another data.split would not. None if they mix nothing.

    A published test image may be in training, or a group, such as a person, in both training and test.
    """
    train, test = names == "train", names == "test"
    if source.published_split is not None and (mixed := int((train & (source.published_split == "test")).sum())):
        return (
            f"data.split={rule} puts {mixed:,} published test images of {source.name} into training; data.split=published "
            "keeps them for the test."
        )
    if source.group is not None and source.group != principal.name:
        groups = source.factor_values[:, list(source.factors).index(source.group)]
        if both := len(np.intersect1d(groups[train], groups[test])):
            return (
                f"data.split={rule} puts the same {source.group} of {source.name} into training and test, {both} of "
                f"{len(np.unique(groups))}; data.split=group keeps each {source.group} in one split."
            )
    return None


def _find_combinations(source: Source) -> np.ndarray:
    columns = list(source.factors)
    if not {"floor_hue", "wall_hue"} <= set(columns):
        raise UserError(f"data.split=combination needs floor_hue and wall_hue; {source.name} has {', '.join(columns)}.")
    chosen = np.ones(source.count, dtype=bool)
    for name in ("floor_hue", "wall_hue"):
        values = source.factor_values[:, columns.index(name)]
        chosen &= values >= (source.factors[name] + 1) // 2
    if not chosen.any():
        raise UserError("data.split=combination needs at least two floor hues and two wall hues in data.grid.")
    return chosen


def _draw_groups(source: Source, principal: Principal, config: DataConfig, draw: np.random.Generator) -> np.ndarray:
    """Draw the split of every group, and return that of every sample [count]."""
    if source.group is None:
        raise UserError(f"data.split=group, but {source.name} has no groups, as faces has persons; use random.")
    if principal.name == source.group:
        raise UserError(f"data.split=group keeps each {source.group} in one split, so it cannot be data.principal too.")
    groups, group_of = np.unique(source.factor_values[:, list(source.factors).index(source.group)], return_inverse=True)
    if len(groups) < 3:
        raise UserError(f"data.split=group: {source.name} has {len(groups)} of {source.group}; three are needed.")
    tests = min(max(round(config.test_fraction * len(groups)), 1), len(groups) - 2)
    rest = len(groups) - tests
    validations = min(max(round(config.validation_fraction * rest), 1), rest - 1)
    split_of = np.repeat(["test", "validation", "train"], [tests, validations, rest - validations])
    return draw.permutation(split_of)[group_of]
