"""Define the shard format, which the writer (shards/) and the reader (detaux/data/stream.py) share.

A shard set is a folder with `manifest.json` and one or more tars per split. It has one of two layouts:

packed    a member group is a block of samples: ``KEY.images.npy`` uint8 [n, H, W, C], ``KEY.labels.npy`` int64 [n],
          ``KEY.keys.txt`` one sample key a line, and ``KEY.factors.npy`` int64 [n, F] if factors are known; arrays in C
          order.
standard  a member group is a sample: ``KEY.png|jpg|jpeg|webp``, ``KEY.cls`` and, if factors are known, ``KEY.json``
          with {"factors": [..]}.

`labels` hold the principal label, -1 if there is none. `factors` only score; nothing that trains reads them.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detaux.artefacts import MANIFEST_NAME
from detaux.errors import UserError
from detaux.runtime.files import write_json

SCHEMA_VERSION = 1
SPLITS = ("train", "validation", "test")
IMAGE_SUFFIXES = ("png", "jpg", "jpeg", "webp")
SHOWN_CLASSES = 20
MAX_IMAGE_PIXELS = 2**26  # an image with more is refused before it is decoded


@dataclass(frozen=True)
class BlockEntry:
    """Describe tar members that are read at once: byte offset of the first header, bytes up to the next block."""

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
    blocks: list[BlockEntry]


@dataclass(frozen=True)
class Manifest:
    dataset: str
    layout: str  # packed or standard
    side: int  # pixels
    channels: int
    classes: list[str]  # names of the principal classes, in label order
    principal: str  # the factor behind the principal label, or "class", or the names of a mapping
    factors: dict[str, int]  # ground-truth factor -> number of values, in column order; {} if unknown
    split: dict[str, Any]  # rule, fractions and seed
    shards: list[Shard]
    quarantined: list[dict[str, str]] = field(default_factory=list)  # {"file", "reason"} of what the builder left out
    passed_over: list[str] = field(default_factory=list)  # files that, by their names, are no samples
    # key -> name in the data set, for samples with a key that differs from the name
    names: dict[str, str] = field(default_factory=dict)
    # number of samples of each class in the data set, before labels are hidden
    class_counts: list[int] = field(default_factory=list)
    version: int = SCHEMA_VERSION

    def describe_classes(self) -> str:
        """Describe the principal classes and their numbers of samples. Only the first SHOWN_CLASSES are named."""
        counts = [f" {count}" for count in self.class_counts] or [""] * len(self.classes)
        shown = [f"{name}{count}" for name, count in zip(self.classes, counts, strict=True)][:SHOWN_CLASSES]
        more = f" and {len(self.classes) - len(shown)} more" if len(self.classes) > len(shown) else ""
        without = sum(shard.samples for shard in self.shards) - sum(self.class_counts)
        unlabelled = f"; {without} samples without a label" if self.class_counts and without else ""
        return f"{len(self.classes)} classes: {', '.join(shown)}{more}{unlabelled}"

    def count(self, split: str) -> int:
        """Count the samples of a split."""
        return sum(shard.samples for shard in self.shards if shard.split == split)


Rule = tuple[str, Callable[[Any], bool]]  # the expected value of a field of manifest.json in words, and its check


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _whole_number(low: int) -> Rule:
    return f"a whole number of at least {low}", lambda value: type(value) is int and low <= value < 2**63


def _one_of(*allowed: str) -> Rule:
    return f"one of {', '.join(allowed)}", lambda value: value in allowed


def _list_of(expected: str, is_right: Callable[[Any], bool]) -> Rule:
    return f"a list of {expected}", lambda value: isinstance(value, list) and all(map(is_right, value))


def _mapping_to(expected: str, is_right: Callable[[Any], bool]) -> Rule:
    return f"a mapping to {expected}", lambda value: isinstance(value, dict) and all(map(is_right, value.values()))


TEXT: Rule = ("text", _is_text)
MANIFEST_FIELDS: dict[str, Rule] = {
    "dataset": TEXT,
    "layout": _one_of("packed", "standard"),
    "side": _whole_number(1),
    "channels": _whole_number(1),
    "classes": _list_of(*TEXT),
    "principal": TEXT,
    "factors": _mapping_to("whole numbers of at least 1", _whole_number(1)[1]),
    "split": _mapping_to("anything", lambda _: True),
    "shards": _list_of("mappings", lambda _: True),
    "quarantined": _list_of(
        'mappings of "file" and "reason" to text',
        lambda entry: (
            isinstance(entry, dict) and entry.keys() == {"file", "reason"} and all(map(_is_text, entry.values()))
        ),
    ),
    "passed_over": _list_of(*TEXT),
    "names": _mapping_to("text", _is_text),
    "class_counts": _list_of("whole numbers of at least 0", _whole_number(0)[1]),
    "version": _whole_number(1),
}
OPTIONAL = ("passed_over", "names", "class_counts")  # fields that a set of an earlier release lacks
SHARD_FIELDS: dict[str, Rule] = {
    "name": TEXT,
    "split": _one_of(*SPLITS),
    "samples": _whole_number(1),
    "size": _whole_number(0),
    "sha256": TEXT,
    "blocks": _list_of("mappings", lambda _: True),
}
BLOCK_FIELDS: dict[str, Rule] = {
    "offset": _whole_number(0),
    "size": _whole_number(1),
    "samples": _whole_number(1),
}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json. Call this last, because a folder without it is no shard set."""
    write_json(folder / MANIFEST_NAME, dataclasses.asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """Read manifest.json. Raises UserError, naming the field, if it is missing, malformed or of another version."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise UserError(f"{path} does not exist: {folder} is no finished shard set; run `detaux shards build` again.")
    return parse_manifest(path.read_bytes(), str(path))


def parse_manifest(content: bytes, origin: str) -> Manifest:
    """Parse the content of a manifest. Raises UserError, naming `origin` and the field, if it is not valid."""
    try:
        tree = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{origin} is not a valid manifest: {error}.") from None
    if isinstance(tree, dict) and tree.get("version", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise UserError(f"{origin} has schema version {tree['version']}; this release reads {SCHEMA_VERSION}.")
    _check_fields(origin, "", tree, MANIFEST_FIELDS)
    if tree.get("class_counts") and len(tree["class_counts"]) != len(tree["classes"]):
        raise UserError(
            f"{origin}: class_counts has {len(tree['class_counts'])} numbers; {len(tree['classes'])} are expected."
        )
    shards = [_read_shard(origin, f"shards[{number}]", shard) for number, shard in enumerate(tree["shards"])]
    return Manifest(**{**tree, "shards": shards})


def _read_shard(origin: str, place: str, tree: Any) -> Shard:
    _check_fields(origin, place, tree, SHARD_FIELDS)
    for number, block in enumerate(tree["blocks"]):
        _check_fields(origin, f"{place}.blocks[{number}]", block, BLOCK_FIELDS)
    blocks = [BlockEntry(**block) for block in tree["blocks"]]
    total = sum(block.samples for block in blocks)
    if total != tree["samples"]:
        raise UserError(f"{origin}: {place}.samples is {tree['samples']}; {total}, the sum of its blocks, is expected.")
    return Shard(**{**tree, "blocks": blocks})


def _check_fields(origin: str, place: str, tree: Any, rules: dict[str, Rule]) -> None:
    """Raise UserError unless `tree`, found at `place` in `origin`, has exactly the fields of `rules`, all correct."""
    if not isinstance(tree, dict):
        raise UserError(f"{origin}: {place or 'it'} is {_shorten(tree)}; a mapping is expected.")
    prefix = f"{place}." if place else ""
    for name in tree.keys() - rules.keys():
        raise UserError(f"{origin}: {prefix}{name} is unknown; {', '.join(rules)} are expected.")
    for name, (expected, is_right) in rules.items():
        if name not in tree and name in OPTIONAL:
            continue
        if name not in tree or not is_right(tree[name]):
            found = _shorten(tree[name]) if name in tree else "missing"
            raise UserError(f"{origin}: {prefix}{name} is {found}; {expected} is expected.")


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
