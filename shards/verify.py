"""Verify a shard set: check hashes, members and counts, and decode all samples. Nothing in it is executed."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from detaux.artefacts import MANIFEST_NAME
from detaux.data.decode import PACKED_FIELDS, STANDARD_FIELDS, BadSampleError, decode_group, iterate_groups
from detaux.data.schema import SPLITS, Manifest, Shard, read_manifest
from detaux.runtime.files import hash_file


@dataclass(frozen=True)
class Problem:
    """Describe what is wrong with a member of a shard, or with the shard itself if member is ""."""

    shard: str
    member: str
    reason: str

    def __str__(self) -> str:
        return f"{self.shard}{f': {self.member}' if self.member else ''}: {self.reason}"


def verify_shards(folder: Path) -> list[Problem]:
    """List all problems of a shard set, [] if it has none. Raises UserError if the manifest cannot be read."""
    manifest = read_manifest(folder)
    problems: list[Problem] = []
    keys: set[str] = set()
    for shard in manifest.shards:
        problems += _verify_shard(folder, manifest, shard, keys)
    known = {shard.name for shard in manifest.shards}
    problems += [
        Problem(path.name, "", f"not named by {MANIFEST_NAME}")
        for path in sorted(folder.glob("*.tar"))
        if path.name not in known
    ]
    return problems


def _verify_shard(folder: Path, manifest: Manifest, shard: Shard, keys: set[str]) -> list[Problem]:
    """List the problems of one tar. `keys` holds the sample keys seen so far; those of this tar are added."""
    path = folder / shard.name
    if PurePosixPath(shard.name).name != shard.name:
        return [Problem(shard.name, "", "not a plain file name")]
    if not path.is_file() or path.is_symlink():
        return [Problem(shard.name, "", "missing, or not a regular file")]
    problems = []
    if path.stat().st_size != shard.size:
        problems.append(Problem(shard.name, "", f"{path.stat().st_size} bytes; the manifest says {shard.size}"))
    elif hash_file(path) != shard.sha256:
        problems.append(Problem(shard.name, "", "its sha256 is not the manifest's"))
    headers = _verify_members(path, manifest.layout)
    if any(not problem.member for problem in headers):
        return problems + headers
    return problems + headers + (_verify_places(shard) or _verify_blocks(path, manifest, shard, keys))


def _verify_members(path: Path, layout: str) -> list[Problem]:
    """Check the names, types and suffixes of the members. Only headers are read."""
    allowed = PACKED_FIELDS if layout == "packed" else STANDARD_FIELDS
    problems = []
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    problems.append(Problem(path.name, member.name, "its path leaves the folder"))
                elif not member.isreg():
                    problems.append(Problem(path.name, member.name, "not a regular file"))
                elif name.name.partition(".")[2] not in allowed:
                    problems.append(Problem(path.name, member.name, f"not a field of a {layout} shard"))
    except (tarfile.TarError, OSError, ValueError) as error:
        problems.append(Problem(path.name, "", f"not a complete tar: {error}"))
    return problems


def _verify_places(shard: Shard) -> list[Problem]:
    """Check that blocks follow each other without a gap from the first byte on."""
    ends = [0]
    for number, block in enumerate(shard.blocks):
        if block.offset != ends[-1]:
            return [Problem(shard.name, "", f"block {number} does not start at the end of the block before it")]
        ends.append(block.offset + block.size)
    if ends[-1] > shard.size:
        return [Problem(shard.name, "", f"its blocks end at byte {ends[-1]} of {shard.size}")]
    return []


def _verify_blocks(path: Path, manifest: Manifest, shard: Shard, keys: set[str]) -> list[Problem]:
    """Decode every block at the place that the manifest gives."""
    problems = []
    with path.open("rb") as stream:
        for number, block in enumerate(shard.blocks):
            stream.seek(block.offset)
            data = io.BytesIO(stream.read(block.size))
            found = 0
            try:
                for group in iterate_groups(data):
                    count, reasons = _inspect_group(group, manifest, keys)
                    found += count
                    problems += [Problem(shard.name, str(group["__key__"]), reason) for reason in reasons]
            except Exception as error:  # tar libraries raise nearly anything on hostile bytes
                problems.append(Problem(shard.name, "", f"block {number} is no tar: {' '.join(str(error).split())}"))
            if found != block.samples:
                problems.append(Problem(shard.name, "", f"block {number}: {found} good samples, not {block.samples}"))
    return problems


def _inspect_group(group: dict[str, Any], manifest: Manifest, keys: set[str]) -> tuple[int, list[str]]:
    """Count the samples of a member group that decode, and list its problems."""
    try:
        arrays = decode_group(group, manifest.layout, manifest.side, manifest.channels)
    except BadSampleError as error:
        return 0, [str(error)]
    reasons = []
    labels, factors = arrays.labels, arrays.factors
    if ((labels < -1) | (labels >= len(manifest.classes))).any():
        reasons.append(f"a label is not in -1 to {len(manifest.classes) - 1}")
    sizes = list(manifest.factors.values())
    if (0 if factors is None else factors.shape[1]) != len(sizes):
        reasons.append(f"it has {0 if factors is None else factors.shape[1]} factors; the manifest names {len(sizes)}")
    elif factors is not None and ((factors < 0) | (factors >= np.array(sizes))).any():
        reasons.append("a factor's value is out of range")
    for key in arrays.keys:
        if key in keys:
            reasons.append(f"sample key {key} occurs twice")
        keys.add(key)
    return len(labels), reasons


def describe_shards(folder: Path) -> list[str]:
    """Return the lines that `detaux shards info` prints."""
    manifest = read_manifest(folder)
    size = sum(shard.size for shard in manifest.shards)
    lines = [
        f"dataset     {manifest.dataset}, {manifest.side} x {manifest.side} x {manifest.channels}, {manifest.layout}",
        f"principal   {manifest.principal}, {manifest.describe_classes()}",
        f"factors     {', '.join(f'{name} ({count})' for name, count in manifest.factors.items()) or 'none known'}",
        f"split       {', '.join(f'{name} {value}' for name, value in manifest.split.items())}",
        *(f"{split:11} {manifest.count(split)} samples" for split in SPLITS),
        f"shards      {len(manifest.shards)}, {size / 2**20:.1f} MiB",
    ]
    lines += [f"left out    {entry['file']}: {entry['reason']}" for entry in manifest.quarantined]
    return lines + [f"passed over {name}" for name in manifest.passed_over]
