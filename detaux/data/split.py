"""Read one split of a shard set: its blocks in any order, or the whole split at once.

Bad samples, blocks and shards are quarantined: each is logged once by file and member, and its samples are counted. If
the bad share of the split exceeds `data.max_bad_fraction`, the split is refused. Nothing in a tar is executed or
written to disk.
"""

import io
import logging
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from detaux.config.schema import DataConfig
from detaux.data.decode import MAX_HEADER_BYTES, BadSampleError, MemberPlace, decode_group, group_members
from detaux.data.file_images import FileImages, FileSpan, StoredFile
from detaux.data.plan import BlockPlace, find_stand_ins, list_blocks
from detaux.data.sample_table import SampleTable
from detaux.data.schema import Manifest, Shard, read_manifest
from detaux.errors import UserError
from detaux.runtime.collectives import gather_objects
from detaux.runtime.files import hash_file
from detaux.runtime.ranks import is_first, rank, world_size

log = logging.getLogger(__name__)

KEPT_SAMPLES = 2**20  # samples kept in decoded blocks while their images stay in files; with two factors, 150 MB
WORKERS_WAY_ON = (
    "they need memory, and shared memory (/dev/shm) for locks: give more (docker run --shm-size), or set data.workers=0"
)
Field = bytes | memoryview | MemberPlace  # the content of a tar member, or its place


@dataclass(frozen=True)
class DecodedBlock:
    """Hold a decoded block: one row for each sample that the manifest lists, and the problems of the bad ones."""

    place: BlockPlace
    table: SampleTable
    problems: list[str]


@dataclass(frozen=True)
class Split:
    """Hold a split: images uint8 [N, H, W, C]; labels int64 [N], -1 if none; N keys; factors int64 [N, F] or None."""

    images: Tensor
    labels: Tensor
    keys: list[str]
    factors: Tensor | None


def load_split(folder: Path, split: str, config: DataConfig, device: torch.device) -> Split:
    """Load a split of a shard set in manifest order to `device`, without the samples that cannot be read.

    Raises UserError if the split is empty or too much of it cannot be read.
    """
    reader = SplitReader(folder, split, config)
    table = reader.read_table(device, needs_factors=True)
    images, labels, keys, factors = table.images, table.labels, table.keys, table.factors
    assert isinstance(images, Tensor)
    if (held := int(table.is_good.sum())) != reader.samples - reader.bad:
        raise UserError(
            f"{held} of {reader.samples} samples in the {split} split of {folder} were read and {reader.bad} cannot be read: "
            "the others were lost between processes; start the command again with data.workers=0."
        )
    if not table.is_good.all():
        good = torch.from_numpy(np.flatnonzero(table.is_good))
        images, labels, keys = images[good.to(images.device)], labels[good], [keys[row] for row in good.tolist()]
        factors = None if factors is None else factors[good]
    return Split(images, labels.to(device), keys, None if factors is None else factors.to(device))


class SplitReader:
    """Read the blocks of one split.

    `shards` holds the places of its blocks, shard by shard. `samples` counts its samples, `bad` those found bad so far.
    Raises UserError if the split is empty or more than `data.max_bad_fraction` of it is bad.
    """

    def __init__(self, folder: Path, split: str, config: DataConfig) -> None:
        self.folder, self.split, self.config = folder, split, config
        self.manifest = read_manifest(folder)
        self._is_packed = self.manifest.layout == "packed"
        self.shards = list_blocks(self.manifest, split)
        self.places = [place for places in self.shards for place in places]
        self.samples = sum(place.samples for place in self.places)
        self.bad = 0
        if self.samples == 0:
            raise UserError(f"{folder} holds no samples in the {split} split.")
        self._inspected: set[int] = set()
        # each rank checks its share of the shards
        parts = gather_objects(find_damaged(folder, self.manifest, split, rank(), world_size()))
        self._damaged = {shard: problem for part in parts for shard, problem in part.items()}
        for shard, problem in self._damaged.items():
            places = [place for place in self.places if place.shard == shard]
            self._quarantine({place.first_slot for place in places}, sum(p.samples for p in places), [problem])

    def read(self, places: Callable[[], Iterable[BlockPlace]], *, in_files: bool = False) -> Iterator[DecodedBlock]:
        """Yield blocks in the order of `places()`, decoded by `data.workers` processes (0: by this one).

        `in_files` leaves the images of packed tars in their files. Then there is little to decode. This process does it
        and keeps the blocks for the next time.
        """
        in_files &= self._is_packed
        dataset = _BlockDataset(self.folder, self.manifest, places, frozenset(self._damaged), in_files)
        workers = 0 if in_files else self.config.workers
        blocks = self._load(dataset, workers) if workers else iter(dataset)
        for place in places():
            block = next(blocks, None)
            if block is None or block.place != place:
                raise UserError(
                    f"the block at byte {place.offset} of {self.folder / place.shard} did not come from the loader processes of "
                    f"data.workers={workers}; {WORKERS_WAY_ON}."
                )
            if block.place.first_slot not in self._inspected:
                bad = int((~block.table.is_good).sum())
                self._quarantine({block.place.first_slot}, bad, block.problems)
            yield block

    def _load(self, dataset: "_BlockDataset", workers: int) -> Iterator[DecodedBlock]:
        """Yield blocks from loader processes, in plan order. Raises UserError if one of them dies or hangs."""
        # reading has its own generator, because it must not move the random state of the run
        generator = torch.Generator().manual_seed(0)
        timeout = self.config.worker_timeout
        try:
            yield from DataLoader(dataset, None, num_workers=workers, timeout=timeout, generator=generator)
        except RuntimeError as error:
            if "timed out" in str(error):
                fault = f"gave nothing for data.worker_timeout={timeout:g} seconds"
            elif "exited unexpectedly" in str(error) or "killed by signal" in str(error):
                fault = f"ended ({str(error).splitlines()[0].rstrip('.')})"
            else:
                raise
        except OSError as error:
            fault = f"cannot be started ({error.strerror})"
        else:
            return
        raise UserError(f"a loader process of data.workers={workers} {fault}; {WORKERS_WAY_ON}.")

    def read_table(self, device: torch.device, *, needs_factors: bool) -> SampleTable:
        """Read the whole split into a table with its images on `device`. A sample's row is its slot."""
        table = self.blank_table(self.samples, needs_factors=needs_factors, device=device)
        for block in self.read(partial(iter, self.places)):
            table.put(block.place.first_slot, block.table)
        return table

    def blank_table(
        self, rows: int, *, needs_factors: bool, device: torch.device | None = None, in_files: bool = False
    ) -> SampleTable:
        """Make a table for `rows` samples of this split, images on `device` or (`in_files`) still in packed tars."""
        shape = (self.manifest.side, self.manifest.side, self.manifest.channels)
        factors = len(self.manifest.factors) if needs_factors else 0
        return SampleTable.blank(rows, shape, factors, device, in_files=in_files and self._is_packed)

    def _quarantine(self, first_slots: set[int], bad: int, problems: list[str]) -> None:
        self._inspected |= first_slots
        self.bad += bad
        for problem in problems if is_first() else ():
            log.warning("quarantined: %s", problem)
        if self.bad > self.config.max_bad_fraction * self.samples:
            raise UserError(
                f"{self.bad} of {self.samples} samples in the {self.split} split of {self.folder} cannot be read, more than "
                f"data.max_bad_fraction={self.config.max_bad_fraction:g} allows; the last: {problems[-1]}."
            )


class _BlockDataset(IterableDataset[DecodedBlock]):
    """Decode blocks. Worker w of n takes the places w, w + n, ..., and the loader interleaves them into plan order."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        places: Callable[[], Iterable[BlockPlace]],
        damaged: frozenset[str],
        in_files: bool,
    ) -> None:
        self.folder, self.manifest, self.places, self.damaged = folder, manifest, places, damaged
        self.in_files = in_files

    def __iter__(self) -> Iterator[DecodedBlock]:
        worker = get_worker_info()
        start, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        read = self._read
        if self.in_files:
            largest = max(block.samples for shard in self.manifest.shards for block in shard.blocks)
            read = lru_cache(max(1, KEPT_SAMPLES // largest))(read)
        for place in islice(self.places(), start, None, stride):
            yield read(place)

    def _read(self, place: BlockPlace) -> DecodedBlock:
        if place.shard in self.damaged:
            return DecodedBlock(place, _blank_table(self.manifest, place.samples, in_files=self.in_files), [])
        return read_block(self.folder, self.manifest, place, in_files=self.in_files)


def read_block(folder: Path, manifest: Manifest, place: BlockPlace, *, in_files: bool) -> DecodedBlock:
    """Read and decode one block. Faults in it go into `problems` and are never raised."""
    step = place.samples if manifest.layout == "packed" else 1
    parts: list[SampleTable | None] = []
    problems: list[str] = []
    try:
        groups = read_block_groups(folder / place.shard, place, in_files=in_files)
        if len(groups) * step != place.samples:
            raise BadSampleError(f"{len(groups)} member groups, not {place.samples // step}")
        for group in groups:
            try:
                parts.append(_decode_part(group, manifest, step))
            except BadSampleError as error:
                parts.append(None)
                problems.append(f"{place.shard}: {error}")
    except Exception as error:  # hostile bytes make tar and image libraries raise nearly anything
        reason = str(error) or type(error).__name__
        parts, problems = [], [f"{place.shard}: block at byte {place.offset}: {reason}"]
    if len(parts) == 1 and parts[0] is not None:
        return DecodedBlock(place, parts[0], problems)
    table = _blank_table(manifest, place.samples, in_files=in_files)
    for number, part in enumerate(parts):
        if part is not None:
            table.put(number * step, part)
    table.stand_ins = find_stand_ins(table.is_good)
    return DecodedBlock(place, table, problems)


def _blank_table(manifest: Manifest, rows: int, *, in_files: bool) -> SampleTable:
    shape = (manifest.side, manifest.side, manifest.channels)
    return SampleTable.blank(rows, shape, len(manifest.factors), in_files=in_files)


def _decode_part(group: dict[str, Any], manifest: Manifest, samples: int) -> SampleTable:
    """Decode a member group to a table of `samples` rows. Raises BadSampleError if it differs from the manifest."""
    arrays = decode_group(group, manifest.layout, manifest.side, manifest.channels)
    name = group["__key__"]
    if len(arrays.labels) != samples:
        raise BadSampleError(f"{name}: {len(arrays.labels)} samples, not {samples}")
    if not -1 <= arrays.labels.min() <= arrays.labels.max() < len(manifest.classes):
        raise BadSampleError(f"{name}: a label is not in -1 to {len(manifest.classes) - 1}")
    width = 0 if arrays.factors is None else arrays.factors.shape[1]
    if width != len(manifest.factors):
        raise BadSampleError(f"{name}: {width} factors, not {len(manifest.factors)}")
    images = arrays.images
    return SampleTable(
        images=images if isinstance(images, FileImages) else torch.from_numpy(np.require(images, requirements="W")),
        labels=torch.from_numpy(arrays.labels),
        keys=arrays.keys,
        factors=None if arrays.factors is None else torch.from_numpy(arrays.factors),
        stand_ins=np.arange(samples),
    )


def read_block_groups(path: Path, place: BlockPlace, *, in_files: bool) -> list[dict[str, Any]]:
    """Read the member groups of one block, with .npy members as views of the bytes read.

    `in_files` leaves the images in the file. Raises BadSampleError if the tar is cut off or a member is no plain file
    inside it.
    """
    with path.open("rb") as stream:
        state = os.fstat(stream.fileno())
        if state.st_size < place.offset + place.size:
            raise BadSampleError(f"the file ends at byte {state.st_size} of {place.offset + place.size}")
        if in_files:
            span = io.BufferedReader(FileSpan(stream, place.offset, place.size))
            file = StoredFile.describe(path, state)
            return list(
                group_members(_read_members(span, place.size, partial(_leave_images, span, file, place.offset)))
            )
        stream.seek(place.offset)
        block = io.BytesIO(stream.read(place.size))  # nothing else holds these bytes, so getbuffer copies nothing
    return list(group_members(_read_members(block, place.size, partial(_view_arrays, block.getbuffer()))))


def _read_members(
    block: BinaryIO, size: int, read_field: Callable[[tarfile.TarInfo], Field]
) -> Iterator[tuple[str, Field]]:
    """Yield (name, field) for each plain file in the tar `block` of `size` bytes."""
    with tarfile.open(fileobj=block, mode="r:") as archive:
        for member in archive:
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise BadSampleError(f"{member.name} is a link or another special file")
            if member.name.startswith("/") or ".." in PurePosixPath(member.name).parts:
                raise BadSampleError(f"{member.name} is a path that leaves the shard")
            if not 0 <= member.size <= size - member.offset_data:
                raise BadSampleError(f"{member.name} is cut off")
            if member.isreg():
                yield member.name, read_field(member)


def _view_arrays(data: memoryview, member: tarfile.TarInfo) -> Field:
    """Return the content of a member of a block that was read whole: a view for .npy, else a copy."""
    field = data[member.offset_data : member.offset_data + member.size]
    return field if member.name.endswith(".npy") else bytes(field)


def _leave_images(block: BinaryIO, file: StoredFile, begin: int, member: tarfile.TarInfo) -> Field:
    """Return the content of a member, or only its place if it holds images. `begin` is the block's first byte."""
    is_left = member.name.lower().endswith(".images.npy")  # as webdataset reads names
    block.seek(member.offset_data)
    field = block.read(min(member.size, MAX_HEADER_BYTES) if is_left else member.size)
    return MemberPlace(file, begin + member.offset_data, member.size, field) if is_left else field


def find_damaged(folder: Path, manifest: Manifest, split: str, part: int = 0, parts: int = 1) -> dict[str, str]:
    """Check part number `part` of `parts` equal parts of a split's shards against the manifest.

    Return the shards that differ, each with its problem; {} if there are none.
    """
    shards = [shard for shard in manifest.shards if shard.split == split][part::parts]
    with ThreadPoolExecutor() as pool:
        problems = pool.map(lambda shard: check_shard(folder, shard), shards)
        return {shard.name: problem for shard, problem in zip(shards, problems, strict=True) if problem}


def check_shard(folder: Path, shard: Shard) -> str | None:
    """Return how a shard's file differs from the manifest, or None if it does not."""
    if ".." in PurePosixPath(shard.name).parts or PurePosixPath(shard.name).is_absolute():
        return f"{shard.name} is a path outside {folder}"
    path = folder / shard.name
    if not path.is_file():
        return f"{path} does not exist"
    state = path.stat()
    if state.st_size != shard.size:
        return f"{path} has {state.st_size} bytes; the manifest says {shard.size}"
    if _hash_once(path, state.st_size, state.st_mtime_ns) != shard.sha256:
        return f"{path} has another sha256 than the manifest says"
    return None


@cache
def _hash_once(path: Path, size: int, modified: int) -> str:
    """Compute the sha256 of a file. It is read again only if its size or modification time changes."""
    return hash_file(path)
