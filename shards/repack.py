"""Turn a standard shard set into a packed one: the same samples, keys and splits."""

import dataclasses
from pathlib import Path, PurePosixPath

import numpy as np

from detaux.config.schema import DataConfig
from detaux.data.decode import BadSampleError, decode_group, iterate_groups
from detaux.data.schema import MANIFEST_NAME, Manifest, Shard, read_manifest, write_manifest
from detaux.errors import UserError
from detaux.runtime.files import atomic_path, hash_file
from shards.write import Samples, write_shard


def repack_shards(folder: Path, out: Path) -> Manifest:
    """Write a packed copy of the standard shard set `folder` to `out`, block by block of the default size.

    Raises UserError where `folder` is packed already, a sample cannot be read, or `out` exists.
    """
    manifest = read_manifest(folder)
    if manifest.layout == "packed":
        raise UserError(f"{folder / MANIFEST_NAME}: the layout is packed already; nothing to repack.")
    if out.exists():
        raise UserError(f"{out} exists; give --out a new folder.")
    with atomic_path(out) as partial:
        partial.mkdir(parents=True)
        shards = [
            write_shard(
                partial / shard.name,
                shard.split,
                "packed",
                _read_shard(folder, manifest, shard),
                DataConfig().block_samples,
            )
            for shard in manifest.shards
        ]
        packed = dataclasses.replace(manifest, layout="packed", shards=shards)
        write_manifest(partial, packed)
    return packed


def _read_shard(folder: Path, manifest: Manifest, shard: Shard) -> Samples:
    path = folder / shard.name
    if PurePosixPath(shard.name).name != shard.name or not path.is_file() or hash_file(path) != shard.sha256:
        raise UserError(f"{path} is not the file that the manifest describes; see `detaux shards verify {folder}`.")
    try:
        with path.open("rb") as stream:
            parts = [
                decode_group(group, manifest.layout, manifest.side, manifest.channels)
                for group in iterate_groups(stream)
            ]
    except (BadSampleError, OSError) as error:
        raise UserError(f"{path} cannot be repacked: {error}; see `detaux shards verify {folder}`.") from None
    factors = [part.factors for part in parts if part.factors is not None]
    return Samples(
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        keys=[key for part in parts for key in part.keys],
        factors=np.concatenate(factors) if len(factors) == len(parts) else None,
    )
