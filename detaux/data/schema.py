"""The shard format, shared by the writer (shards/) and the reader (detaux/data/stream.py).

A shard set is a folder with `manifest.json` and one or more tars per split. Two layouts:

packed    a member group is a block of samples: ``KEY.images.npy`` uint8 [n, H, W, C], ``KEY.labels.npy`` int64 [n],
          ``KEY.keys.txt`` one sample key a line, and ``KEY.factors.npy`` int64 [n, F] where factors are known.
standard  a member group is a sample: ``KEY.png|jpg|jpeg|webp``, ``KEY.cls`` and, where factors are known, ``KEY.json``
          with {"factors": [..]}.

`labels` hold the principal label, -1 where there is none. `factors` only score; nothing that trains reads them.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detaux.errors import UserError
from detaux.runtime.files import read_json, write_json

MANIFEST_NAME = "manifest.json"
SCHEMA_VERSION = 1
SPLITS = ("train", "validation", "test")
IMAGE_SUFFIXES = ("png", "jpg", "jpeg", "webp")
MAX_IMAGE_PIXELS = 2**26  # a larger header is refused before decoding


@dataclass(frozen=True)
class Block:
    """A run of tar members that is read at once: byte offset of its first header, bytes up to the next block."""

    offset: int
    size: int
    samples: int


@dataclass(frozen=True)
class Shard:
    name: str  # file name relative to the manifest
    split: str  # one of SPLITS
    samples: int
    size: int  # bytes
    sha256: str
    blocks: list[Block]


@dataclass(frozen=True)
class Manifest:
    dataset: str
    layout: str  # packed or standard
    side: int  # pixels
    channels: int
    classes: list[str]  # names of the principal classes, in label order
    principal: str  # the factor behind the principal label, or "class", or the names of a mapping
    factors: dict[str, int]  # ground-truth factor -> number of values, in column order; {} where unknown
    split: dict[str, Any]  # rule, fractions and seed
    shards: list[Shard]
    quarantined: list[dict[str, str]] = field(default_factory=list)  # {"file", "reason"} the builder skipped
    version: int = SCHEMA_VERSION

    def count(self, split: str) -> int:
        """Samples of a split."""
        return sum(shard.samples for shard in self.shards if shard.split == split)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json last: a folder without it is no shard set."""
    write_json(folder / MANIFEST_NAME, dataclasses.asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """Read manifest.json; raises UserError where it is missing, unreadable or of another schema version."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise UserError(f"{path} does not exist: {folder} is no finished shard set; run `detaux shards build` again.")
    try:
        tree = read_json(path)
        if tree["version"] != SCHEMA_VERSION:
            raise UserError(f"{path} has schema version {tree['version']}; this release reads {SCHEMA_VERSION}.")
        tree["shards"] = [
            Shard(**{**shard, "blocks": [Block(**block) for block in shard["blocks"]]}) for shard in tree["shards"]
        ]
        return Manifest(**tree)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a valid manifest: {error}.") from None
