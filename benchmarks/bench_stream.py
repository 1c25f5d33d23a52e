"""Compare loaders on one core, in images/s at 64 px, interleaved: stock WebDataset, litdata, mosaicml-streaming, ours.

    python benchmarks/bench_stream.py [--workers 0] [--samples 8192] [--rounds 5] [--batch 64]

stock webdataset     WebDataset(tars).shuffle(1000).decode(...).to_tuple(image, "cls").batched(B) in a DataLoader, with
                     one sample in each member group: PNG members, as in its README (the baseline), or .npy members
litdata              optimize(...), StreamingDataset(shuffle=True) and StreamingDataLoader: the README's JPEG of quality
                     95, uint8 arrays, or bytes that a collate function (not in its README) turns into an array
mosaicml-streaming   MDSWriter, StreamingDataset(shuffle=True) and DataLoader: the quick start's JPEG, arrays, or bytes
ours, packed         SampleStream, blocks of 256 in a member, data.cache=none: the images are read again every epoch
ours, cached         SampleStream after its first pass

In each round, every case runs one shuffled epoch of the same images, and ends with uint8 batches and labels in
memory. All cases run on one core with one thread, with their loader processes (--workers). Before the rounds, one
epoch of each case is compared with the images; JPEG loses a little. The files are in the page cache. `images/s` is
the median over rounds. A ratio is the median of the rounds' own ratios to the baseline. The last rows compare our
packed reader with every case of the others.

litdata and mosaicml-streaming are not dependencies; their cases are left out if they are not installed. The second
needs an older numpy, so install them in an environment of their own. Our packed reader has nothing to decode and
starts no loader processes for any value of --workers. The loader processes of the others keep running between epochs.
"""

import argparse
import hashlib
import io
import itertools
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from other_loaders import Batches, Cases, build_others, build_stock
from results import append_row
from torch import Tensor

from detaux.config.schema import DataConfig
from detaux.data.schema import BlockEntry, Manifest, Shard, write_manifest
from detaux.data.stream import SampleStream

SIDE, CLASSES, BLOCK, SHARD = 64, 10, 256, 2048
OURS = "ours, packed, cache=none"


def render(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Render pictures uint8 [N, 64, 64, 3], a shaded disc over a graded wall and floor, with labels int64 [N]."""
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for index in range(count):
        wall, floor, disc = draw.uniform(60, 255, (3, 3))
        middle, radius = draw.uniform(0.35, 0.65, 2), draw.uniform(0.1, 0.3)
        background = np.where(rows[..., None] < 0.6, wall * (0.6 + 0.4 * columns[..., None]), floor * rows[..., None])
        squared = ((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2) / radius**2
        shade = np.sqrt(np.clip(1 - squared, 0, 1))[..., None]
        images[index] = np.where(squared[..., None] < 1, disc * (0.3 + 0.7 * shade), background)
    return images, draw.integers(0, CLASSES, count)


def encode_member(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf() + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def encode_npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def write_packed(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write the samples as a packed shard set."""
    shards = []
    for first in range(0, len(images), SHARD):
        data, blocks = bytearray(), []
        for begin in range(first, min(first + SHARD, len(images)), BLOCK):
            end = min(begin + BLOCK, first + SHARD, len(images))
            keys = "".join(f"{index:07d}\n" for index in range(begin, end)).encode()
            offset = len(data)
            data += encode_member(f"{begin:07d}.images.npy", encode_npy(images[begin:end]))
            data += encode_member(f"{begin:07d}.labels.npy", encode_npy(labels[begin:end]))
            data += encode_member(f"{begin:07d}.keys.txt", keys)
            blocks.append(BlockEntry(offset, len(data) - offset, end - begin))
        data += bytes(2 * tarfile.BLOCKSIZE)
        name = f"train-{first // SHARD:03d}.tar"
        (folder / name).write_bytes(data)
        samples = sum(block.samples for block in blocks)
        shards.append(Shard(name, "train", samples, len(data), hashlib.sha256(data).hexdigest(), blocks))
    classes = [str(label) for label in range(CLASSES)]
    write_manifest(folder, Manifest("renders", "packed", SIDE, 3, classes, "class", {}, {"rule": "none"}, shards))


def build_ours(folder: Path, batch: int, workers: int) -> Cases:
    """Build cases from endless streams. Each call of a case takes the next epoch."""

    def iterate(stream: SampleStream, positions: Iterator[int]) -> Batches:
        for first in itertools.islice(positions, stream.samples // batch):
            window = stream.window(first, batch)
            yield window.images(torch.arange(batch)), window.labels

    cases: Cases = {}
    for case, cache in ((OURS, "none"), ("ours, cached", "host")):
        config = DataConfig(cache=cache, workers=workers)
        stream = SampleStream(folder, "train", config, seed=0, device=torch.device("cpu"))
        cases[case] = partial(iterate, stream, itertools.count(step=batch))
    return cases


def check(case: str, batches: Batches, images: np.ndarray, labels: np.ndarray) -> None:
    """Check that a case yields every image once, as uint8, with its label. JPEG must only be near in brightness."""
    seen: list[tuple[Tensor, Tensor]] = list(batches)
    shown = torch.cat([batch.flatten(1) for batch, _ in seen]).numpy()
    told = torch.cat([values.flatten() for _, values in seen]).numpy()
    expected = images.reshape(len(images), -1)
    assert shown.dtype == np.uint8, case
    assert np.array_equal(np.sort(told), np.sort(labels)), case
    sums, wanted = shown.sum(1, dtype=np.int64), expected.sum(1, dtype=np.int64)
    if "JPEG" in case:
        assert abs(np.sort(sums) - np.sort(wanted)).max() < 0.02 * 255 * shown.shape[1], case
    else:
        assert np.array_equal(np.sort(sums * CLASSES + told), np.sort(wanted * CLASSES + labels)), case
        assert np.array_equal(np.sort(shown[:, ::97], 0), np.sort(expected[:, ::97], 0)), case


def measure(cases: Cases, samples: int, rounds: int) -> dict[str, list[float]]:
    """Return the images/s of each case in each round."""
    speeds: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case, epoch in cases.items():
            begun = time.perf_counter()
            seen = sum(len(images) for images, _ in epoch())
            speeds[case].append(samples / (time.perf_counter() - begun))
            assert seen == samples, case
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=0, help="loader processes of each case")
    parser.add_argument("--samples", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.samples % arguments.batch:
        parser.error("--samples must be a multiple of --batch, so that every round is one epoch")
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, labels = render(arguments.samples)
        np.save(folder / "images.npy", images)
        np.save(folder / "labels.npy", labels)
        write_packed(folder, images, labels)
        cases = build_stock(folder, arguments.batch, arguments.workers, SHARD)
        cases |= build_others(folder, arguments.batch, arguments.workers)
        cases |= build_ours(folder, arguments.batch, arguments.workers)
        for case, epoch in cases.items():
            check(case, epoch(), images, labels)
        speeds = measure(cases, arguments.samples, arguments.rounds)
    command = (
        f"python benchmarks/bench_stream.py --workers {arguments.workers} --samples {arguments.samples} "
        f"--rounds {arguments.rounds} --batch {arguments.batch}"
    )
    print_and_append(speeds, command)


def compare(values: list[float], others: list[float]) -> tuple[float, str]:
    """Return the median of the rounds' ratios, and their range."""
    ratios = [value / other for value, other in zip(values, others, strict=True)]
    return statistics.median(ratios), f"{min(ratios):.2f}-{max(ratios):.2f}"


def print_and_append(speeds: dict[str, list[float]], command: str) -> None:
    """Print the table, and append its rows to results.csv. The first case is the baseline."""
    baseline = next(iter(speeds))
    add_row = partial(append_row, benchmark="stream", command=command)
    print(f"{'case':44} {'images/s':>9} {'ratio':>7}  spread of ratios")
    for case, values in speeds.items():
        ratio, spread = compare(values, speeds[baseline])
        print(f"{case:44} {statistics.median(values):9.0f} {ratio:7.2f}  {spread}")
        add_row(case=case, metric="images/s", value=statistics.median(values), unit="1/s", ratio=ratio, spread=spread)
    for case, values in speeds.items():
        if not case.startswith("ours"):
            ratio, spread = compare(speeds[OURS], values)
            print(f"{OURS} / {case:52} {ratio:7.2f}  {spread}")
            add_row(case=f"{OURS} / {case}", metric="ratio", value=ratio, unit="x", ratio=ratio, spread=spread)


if __name__ == "__main__":
    main()
