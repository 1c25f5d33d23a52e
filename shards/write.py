"""Write tars with bytes that depend only on their content, and describe the places of their blocks."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from detaux.data.schema import BlockEntry, Shard
from detaux.runtime.files import hash_file


@dataclass(frozen=True)
class Samples:
    """Hold samples of one split: images uint8 [n, S, S, C], labels [n], n keys, factors [n, F] or None."""

    images: np.ndarray
    labels: np.ndarray
    keys: list[str]
    factors: np.ndarray | None

    def take(self, index: np.ndarray) -> "Samples":
        """Return the samples at `index`, in that order."""
        factors = None if self.factors is None else self.factors[index]
        return Samples(self.images[index], self.labels[index], [self.keys[i] for i in index], factors)


def encode_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()


def pack_block(name: str, samples: Samples) -> Iterator[tuple[str, bytes]]:
    """Yield the tar members of a packed block, (name, content)."""
    yield f"{name}.images.npy", encode_npy(samples.images)
    yield f"{name}.labels.npy", encode_npy(samples.labels.astype(np.int64))
    yield f"{name}.keys.txt", "".join(f"{key}\n" for key in samples.keys).encode()
    if samples.factors is not None:
        yield f"{name}.factors.npy", encode_npy(samples.factors.astype(np.int64))


def list_members(samples: Samples) -> Iterator[tuple[str, bytes]]:
    """Yield the tar members of samples in the standard layout, (name, content)."""
    for index, key in enumerate(samples.keys):
        stream = io.BytesIO()
        Image.fromarray(samples.images[index]).save(stream, "PNG")
        yield f"{key}.png", stream.getvalue()
        yield f"{key}.cls", str(int(samples.labels[index])).encode()
        if samples.factors is not None:
            yield f"{key}.json", json.dumps({"factors": samples.factors[index].tolist()}).encode()


def write_shard(
    path: Path, split: str, layout: str, samples: Samples, block_samples: int, members: np.ndarray | None = None
) -> Shard:
    """Write one tar of a split and describe it. `members` are the places of its samples in `samples`; None takes all.

    Samples are taken block by block, so that the images of a tar need not fit into memory.
    """
    members = np.arange(len(samples.keys)) if members is None else members
    blocks = []
    with path.open("wb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, start in enumerate(range(0, len(members), block_samples)):
            part = samples.take(members[start : start + block_samples])
            offset = tar.offset
            name = f"{path.stem}-{number:05d}"
            _add_members(tar, pack_block(name, part) if layout == "packed" else list_members(part))
            blocks.append(BlockEntry(offset=offset, size=tar.offset - offset, samples=len(part.keys)))
    return Shard(path.name, split, len(members), path.stat().st_size, hash_file(path), blocks)


def _add_members(tar: tarfile.TarFile, members: Iterable[tuple[str, bytes]]) -> None:
    for name, data in members:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        info.mode = 0o644
        tar.addfile(info, io.BytesIO(data))
