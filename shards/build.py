"""Build a shard set from a dataset: tars and manifest.json, complete or not at all."""

import itertools
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from detaux.artefacts import MANIFEST_NAME
from detaux.config import Config
from detaux.config.location import expand_path
from detaux.data.schema import SPLITS, Manifest, Shard, write_manifest
from detaux.errors import UserError
from detaux.runtime.files import atomic_path
from detaux.runtime.progress import say, track
from detaux.runtime.record import hash_inputs, write_record
from shards.datasets import open_source
from shards.paint import FACTOR, Paint, plan_paint
from shards.planted import choose_kept, describe_planted
from shards.principal import Principal, choose_principal
from shards.records import Source
from shards.split import describe_mixing, split_samples
from shards.tar_names import list_tars
from shards.write import Samples, write_shard

IMAGES_FILE = "images.npy"  # a temporary file, removed before the set is complete


def list_inputs(config: Config) -> dict[str, Path | list[Path]]:
    """List what a build reads besides its config: `data.path`, or all tars that it names if it is a pattern."""
    if not config.data.path:
        return {}
    path = expand_path(config.data.path, "data.path")
    if config.data.source == "webdataset" and not os.path.exists(path):  # path.exists() fails on a long pattern
        return {"data.path": list_tars(config.data.path).paths}
    return {"data.path": path} if path.exists() else {}


def build_shards(config: Config, folder: Path) -> Manifest:
    """Write the shard set of `config.data` to `folder`. An interrupted build leaves nothing that a reader would accept.

    Samples are shuffled by data.split_seed before they are packed, so that every block is a mixture. The same config
    gives the same bytes. A line says so if the split mixes what another split of the data set would keep apart.
    """
    started = time.time()
    data, hashes = config.data, hash_inputs(list_inputs(config))
    source = open_source(data)
    if source.count == 0:
        raise UserError(f"data.source={data.source} holds no sample that can be used.")
    principal = choose_principal(source, data.principal)
    names = split_samples(source, principal, data)
    if mixing := describe_mixing(source, principal, names, data.split):
        say(f"shards: {mixing}")
    kept = choose_kept(source, principal, names, data)
    if not kept.all():
        say(
            f"shards: {kept.sum():,} of {source.count:,} images are kept, {(names == 'test').sum():,} of them for the test"
        )
    principal, names = replace(principal, labels=principal.labels[kept]), names[kept]
    paint = plan_paint(principal, names, data)
    labels = hide_labels(principal.labels, names, data.labelled_fraction, data.split_seed)
    factors, values = _list_known(source, kept, paint, isinstance(data.principal, dict))
    keys = make_keys(source)
    originals = dict(itertools.compress(zip(keys, source.keys or keys, strict=True), kept))
    with atomic_path(folder) as partial:
        partial.mkdir(parents=True)
        images = _store_images(source, kept, paint, data.side, partial / IMAGES_FILE)
        everything = Samples(images, labels, list(originals), values)
        draw = np.random.default_rng(data.split_seed)
        shards: list[Shard] = []
        with track("shards", len(originals)) as advance:
            for split in SPLITS:
                members = draw.permutation(np.flatnonzero(names == split))
                for number, start in enumerate(range(0, len(members), data.shard_samples)):
                    part = members[start : start + data.shard_samples]
                    path = partial / f"{split}-{number:05d}.tar"
                    shards.append(write_shard(path, split, data.layout, everything, data.block_samples, part))
                    advance(len(part))
        (partial / IMAGES_FILE).unlink()
        manifest = _describe(config, source, principal, factors, shards, originals)
        write_manifest(partial, manifest)
        write_record(partial, "shards", config, hashes, [MANIFEST_NAME, *(shard.name for shard in shards)], started)
    return manifest


def _list_known(
    source: Source, kept: np.ndarray, paint: Paint | None, is_mapped: bool
) -> tuple[dict[str, int], np.ndarray | None]:
    """Return the known factors with their sizes, and their values int64 [kept, F], or None if no factor is known.

    A factor is known only if every image has a value. One that is itself the principal label, unless it is mapped to
    classes, counts only beside others.
    """
    factors, values = dict(source.factors), source.factor_values[kept]
    if paint is not None:
        factors[FACTOR] = paint.size
        values = np.concatenate([values, paint.values[:, None]], axis=1)
    columns = [
        column
        for column, size in enumerate(factors.values())
        if size > 1 and (len(factors) > 1 or is_mapped) and (values[:, column] >= 0).all()
    ]
    known = {name: size for column, (name, size) in enumerate(factors.items()) if column in columns}
    return known, values[:, columns] if columns else None


def _store_images(source: Source, kept: np.ndarray, paint: Paint | None, side: int, path: Path) -> np.ndarray:
    """Store the kept images in one file, so that a set larger than memory can be shuffled.

    Return it as uint8 [n, side, side, 3]. `kept` is bool [count], and `paint` has a colour for each kept image.
    """
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(int(kept.sum()), side, side, 3))
    seen = filled = 0
    with track(f"read {source.name}", source.count) as advance:
        for records in source.read():
            chosen = records.images[kept[seen : seen + len(records.images)]]
            images[filled : filled + len(chosen)] = paint.apply(chosen, filled, source.name) if paint else chosen
            seen += len(records.images)
            filled += len(chosen)
            advance(len(records.images))
    if seen != source.count:
        raise UserError(
            f"{source.name} gave {seen} images, but {source.count} were found before: a file was changed meanwhile; start "
            "the command again."
        )
    return images


def hide_labels(labels: np.ndarray, names: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Keep only a fraction of the training labels of every class, at least one. Return labels [count], -1 if hidden.

    Labels of the other splits stay. No stage sees a hidden label. A smaller fraction keeps a subset of what a larger
    one keeps.
    """
    draw = np.random.default_rng(seed)
    kept = labels.copy()
    for label in np.unique(labels[labels >= 0]):
        members = draw.permutation(np.flatnonzero((labels == label) & (names == "train")))
        kept[members[max(1, round(fraction * len(members))) :]] = -1
    return kept


def make_keys(source: Source) -> list[str]:
    """Make a unique key for each sample that is safe as the name of a tar member.

    A key has only ASCII letters, digits, _, - and /, at most 90 of them. It never starts with _, because webdataset
    skips members that look like metadata.
    """
    if source.keys is None:
        return [f"{index:08d}" for index in range(source.count)]
    keys: dict[str, None] = {}
    for index, name in enumerate(source.keys):
        key = re.sub(r"[^\w/-]", "_", name, flags=re.ASCII)[-80:].lstrip("/_") or "sample"
        while key in keys:
            key = f"{key[:80]}_{index}"
        keys[key] = None
    return list(keys)


def _describe(
    config: Config,
    source: Source,
    principal: Principal,
    factors: dict[str, int],
    shards: list[Shard],
    originals: dict[str, str],
) -> Manifest:
    """Describe a set. `originals` has the name of each kept sample in the data set by its key."""
    data = config.data
    return Manifest(
        dataset=source.name,
        layout=data.layout,
        side=data.side,
        channels=3,
        classes=principal.classes,
        principal=principal.name,
        factors=factors,
        split={
            "rule": data.split,
            "test_fraction": data.test_fraction,
            "validation_fraction": data.validation_fraction,
            "seed": data.split_seed,
            "labelled_fraction": data.labelled_fraction,
            **describe_planted(data),
        },
        shards=shards,
        quarantined=source.quarantined,
        passed_over=source.passed_over,
        class_counts=np.bincount(principal.labels[principal.labels >= 0], minlength=len(principal.classes)).tolist(),
        names={key: name for key, name in originals.items() if key != name},
    )
