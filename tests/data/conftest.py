"""Tiny shard sets written member by member, so that these tests do not lean on the builders."""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from detaux.config.schema import DataConfig, PairsConfig
from detaux.data.pairs import PairStream
from detaux.data.schema import BlockEntry, Manifest, Shard, read_manifest, write_manifest

SIDE = 8
CLASSES = ["even", "odd"]  # by the number of ones in the binary form of a slot
FACTORS = {"tens": 100, "units": 10}


def render(slot: int) -> np.ndarray:
    """The image of a slot: its number in two pixels over a gradient."""
    image = np.linspace(0, 255, SIDE * SIDE * 3).reshape(SIDE, SIDE, 3).astype(np.uint8)
    image[0, 0] = slot % 256
    image[0, 1] = slot // 256
    return image


def name(slot: int) -> str:
    return f"s{slot:05d}"


def get_label(slot: int) -> int:
    """Of no period, so that labels that are shifted by any number of images are seen."""
    return slot.bit_count() % 2


def encode_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def encode_png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def encode_member(member: str | tarfile.TarInfo, data: bytes) -> bytes:
    """Header, data and padding of a tar member."""
    info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
    info.size = len(data)
    return info.tobuf() + data + bytes(-len(data) % 512)


def list_members(slots: list[int], layout: str) -> list[tuple[str, bytes]]:
    """Members of one block."""
    factors = [[slot // 10, slot % 10] for slot in slots]
    if layout == "standard":
        return [
            member
            for slot, values in zip(slots, factors, strict=True)
            for member in (
                (f"{name(slot)}.png", encode_png(render(slot))),
                (f"{name(slot)}.cls", str(get_label(slot)).encode()),
                (f"{name(slot)}.json", json.dumps({"factors": values}).encode()),
            )
        ]
    return [
        (f"b{slots[0]:05d}.images.npy", encode_npy(np.stack([render(slot) for slot in slots]))),
        (f"b{slots[0]:05d}.labels.npy", encode_npy(np.array([get_label(slot) for slot in slots]))),
        (f"b{slots[0]:05d}.keys.txt", "".join(f"{name(slot)}\n" for slot in slots).encode()),
        (f"b{slots[0]:05d}.factors.npy", encode_npy(np.array(factors))),
    ]


@dataclass
class ShardSet:
    """A shard set under test: its folder and the slots of each block, shard by shard."""

    folder: Path
    layout: str
    blocks: list[list[list[int]]]

    def shard(self, number: int) -> Path:
        return self.folder / f"train-{number:03d}.tar"

    def write(self, change=lambda member, data: [(member, data)]) -> "ShardSet":
        """Write tars and manifest; `change(member, data)` may put other members, or none, in a member's place."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shards = []
        for number, blocks in enumerate(self.blocks):
            places = []
            with self.shard(number).open("wb") as stream:
                for slots in blocks:
                    members = [new for old in list_members(slots, self.layout) for new in change(*old)]
                    data = b"".join(encode_member(*member) for member in members)
                    places.append(BlockEntry(stream.tell(), len(data), len(slots)))
                    stream.write(data)
                stream.write(bytes(1024))  # the end of a tar
            samples = sum(len(slots) for slots in blocks)
            shards.append(Shard(self.shard(number).name, "train", samples, 0, "", places))
        manifest = Manifest("numbers", self.layout, SIDE, 3, CLASSES, "class", FACTORS, {"rule": "none"}, shards)
        write_manifest(self.folder, manifest)
        return self.sign()

    def sign(self) -> "ShardSet":
        """Let the manifest describe the tars as they now are."""
        manifest = read_manifest(self.folder)
        shards = []
        for number, shard in enumerate(manifest.shards):
            data = self.shard(number).read_bytes()
            shards.append(replace(shard, size=len(data), sha256=hashlib.sha256(data).hexdigest()))
        write_manifest(self.folder, replace(manifest, shards=shards))
        return self


@pytest.fixture
def make():
    """The bytes and names that shard sets are made of."""
    return SimpleNamespace(side=SIDE, render=render, name=name, label=get_label, npy=encode_npy, png=encode_png)


@pytest.fixture
def build_shards(tmp_path):
    """build_shards(sizes, layout): a written ShardSet; `sizes` lists the samples of each block, shard by shard."""

    def build(sizes=((8, 8, 5), (8, 3)), layout="packed", change=None, folder="shards") -> ShardSet:
        slots = iter(range(10**6))
        blocks = [[[next(slots) for _ in range(size)] for size in shard] for shard in sizes]
        shard_set = ShardSet(tmp_path / folder, layout, blocks)
        return shard_set.write(change) if change else shard_set.write()

    return build


SIZES = (3, 4, 5)


class GridStream:
    """Stands in for SampleStream: a full grid of factors, each filling a pixel row, in a fixed shuffled order."""

    def __init__(self, labels=None, has_factors=True):
        self.values = torch.cartesian_prod(*(torch.arange(size) for size in SIZES))
        order = torch.randperm(len(self.values), generator=torch.Generator().manual_seed(7))
        self.values = self.values[order]
        self.samples = len(self.values)
        self.pixels = torch.zeros(self.samples, 4, 4, 3, dtype=torch.uint8)
        for factor, step in enumerate((60, 25, 9)):
            self.pixels[:, factor] = (self.values[:, factor] * step).to(torch.uint8)[:, None, None]
        self.labels = self.values[:, 0] if labels is None else labels
        self.has_factors = has_factors

    def window(self, first, count):
        slots = torch.arange(first, first + count) % self.samples
        window = SimpleNamespace(
            labels=self.labels[slots],
            factors=self.values[slots] if self.has_factors else None,
            images=lambda index: self.pixels[slots[index]],
        )
        window.all_images = self.pixels[slots]
        window.hold = lambda most: window
        return window


@pytest.fixture
def make_grid():
    """make_grid(labels=None, has_factors=True): a GridStream of 60 images."""
    return GridStream


@pytest.fixture
def build_pairs():
    """build_pairs(stream=None, batch_size=16, seed=0, **keys): the pairs of a stream, a full grid if none is given."""

    def build(stream=None, batch_size=16, seed=0, **keys):
        return PairStream(
            stream or GridStream(), DataConfig(window=60), PairsConfig(**keys), batch_size=batch_size, seed=seed
        )

    return build


@pytest.fixture
def gather():
    """gather(pairs, steps=40): which factors differ in each pair of some steps, [B, F], and whether its labels do, [B]."""

    def gather_them(pairs, steps=40):
        batches = [pairs.batch(step) for step in range(steps)]
        factors = torch.cat([(batch.factors[batch.first] != batch.factors[batch.second]) for batch in batches])
        return factors, torch.cat([batch.is_different for batch in batches])

    return gather_them


@pytest.fixture
def hide():
    """hide(labels, share, seed=0): the labels with a share of them replaced by -1."""

    def hide_some(labels, share, seed=0):
        return torch.where(torch.rand(len(labels), generator=torch.Generator().manual_seed(seed)) < share, -1, labels)

    return hide_some
