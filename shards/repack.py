"""Turn a standard shard set into a packed one: the same samples, keys and splits."""

import dataclasses
import time
from pathlib import Path, PurePosixPath

import numpy as np

from detaux.artefacts import CONFIG_NAME, MANIFEST_NAME
from detaux.config import load_config
from detaux.data.decode import BadSampleError, decode_group, iterate_groups
from detaux.data.schema import Manifest, Shard, read_manifest, write_manifest
from detaux.errors import UserError
from detaux.runtime.files import atomic_path, hash_file
from detaux.runtime.record import hash_inputs, write_record
from shards.write import Samples, write_shard


def repack_shards(folder: Path, out: Path) -> Manifest:
    """Write a packed copy of the standard shard set `folder` to `out`.

    Blocks have the size of the set's frozen config, or the default size if there is none. If the set has its frozen
    config, the copy gets it too, and a record. Raises UserError if `folder` is packed already, a sample cannot be read,
    or `out` exists.
    """
    started, manifest = time.time(), read_manifest(folder)
    hashes = hash_inputs({"manifest": folder / MANIFEST_NAME})
    if manifest.layout == "packed":
        raise UserError(f"{folder / MANIFEST_NAME}: the layout is packed already; nothing to repack.")
    if out.exists():
        raise UserError(f"{out} exists; give --out a new folder.")
    frozen = folder / CONFIG_NAME
    config = load_config(frozen if frozen.is_file() else None)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, layout="packed"))
    with atomic_path(out) as partial:
        partial.mkdir(parents=True)
        shards = [
            write_shard(
                partial / shard.name,
                shard.split,
                "packed",
                _read_shard(folder, manifest, shard),
                config.data.block_samples,
            )
            for shard in manifest.shards
        ]
        packed = dataclasses.replace(manifest, layout="packed", shards=shards)
        write_manifest(partial, packed)
        if frozen.is_file():
            outputs = [MANIFEST_NAME, *(shard.name for shard in shards)]
            write_record(partial, "shards", config, hashes, outputs, started)
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
        if len(parts) != shard.samples:
            raise BadSampleError(f"it holds {len(parts)} samples, not {shard.samples}")
    except Exception as error:  # tar libraries raise nearly anything on hostile bytes
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be repacked: {reason}; see `detaux shards verify {folder}`.") from None
    factors = [part.factors for part in parts if part.factors is not None]
    return Samples(
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        keys=[key for part in parts for key in part.keys],
        factors=np.concatenate(factors) if len(factors) == len(parts) else None,
    )
