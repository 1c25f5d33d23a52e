"""The loader on one core against stock WebDataset with a sample a member: images/s, 64 px, interleaved in one run.

    python benchmarks/bench_stream.py [--samples 4096] [--rounds 5] [--batch 64]

stock    webdataset.WebDataset(tars).shuffle(1000).decode("rgb8").to_tuple("png", "cls").batched(B), PNG members
packed   SampleStream, blocks of 256 a member, data.cache=none: the tars are read again every epoch
cached   SampleStream after its first pass

Every case runs over one epoch of the same images a round and ends with uint8 batches and labels in memory. The files are
in the page cache. `images/s` is the median over rounds; the ratio is the median of the rounds' own ratios to stock.
"""

import argparse
import hashlib
import io
import itertools
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import webdataset
from PIL import Image
from results import append_row

from detaux.config.schema import DataConfig
from detaux.data.schema import Block, Manifest, Shard, write_manifest
from detaux.data.stream import SampleStream

SIDE, CLASSES, BLOCK, SHARD = 64, 10, 256, 2048
Epoch = Callable[[], None]


def render(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth pictures uint8 [N, 64, 64, 3], a shaded disc over a graded wall and floor, and labels int64 [N]."""
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


def encode_png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def write_standard(folder: Path, images: np.ndarray, labels: np.ndarray) -> list[str]:
    """Tars with a sample a member group, as any WebDataset user would write them."""
    paths = []
    for first in range(0, len(images), SHARD):
        path = folder / f"standard-{first // SHARD:03d}.tar"
        with webdataset.TarWriter(str(path)) as writer:
            for index in range(first, min(first + SHARD, len(images))):
                sample = {
                    "__key__": f"{index:07d}",
                    "png": encode_png(images[index]),
                    "cls": str(labels[index]).encode(),
                }
                writer.write(sample)
        paths.append(str(path))
    return paths


def write_packed(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """The same samples as a packed shard set."""
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
            blocks.append(Block(offset, len(data) - offset, end - begin))
        data += bytes(2 * tarfile.BLOCKSIZE)
        name = f"train-{first // SHARD:03d}.tar"
        (folder / name).write_bytes(data)
        samples = sum(block.samples for block in blocks)
        shards.append(Shard(name, "train", samples, len(data), hashlib.sha256(data).hexdigest(), blocks))
    classes = [str(label) for label in range(CLASSES)]
    write_manifest(folder, Manifest("renders", "packed", SIDE, 3, classes, "class", {}, {"rule": "none"}, shards))


def build_stock_epoch(paths: list[str], samples: int, batch: int) -> Epoch:
    """An epoch of the pipeline that WebDataset's own documentation sets up."""
    pipeline = webdataset.WebDataset(paths, shardshuffle=len(paths)).shuffle(1000).decode("rgb8")
    batches = pipeline.to_tuple("png", "cls").batched(batch)

    def epoch() -> None:
        seen = sum(len(torch.from_numpy(images)) for images, _ in batches)
        assert seen == samples

    return epoch


def build_our_epoch(folder: Path, cache: str, batch: int) -> Epoch:
    stream = SampleStream(folder, "train", DataConfig(cache=cache), seed=0, device=torch.device("cpu"))
    positions: Iterator[int] = itertools.count(step=batch)

    def epoch() -> None:
        for first in itertools.islice(positions, stream.samples // batch):
            stream.window(first, batch).images(torch.arange(batch))

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    if arguments.samples % arguments.batch:
        parser.error("--samples must be a multiple of --batch, so that every round is one epoch")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, labels = render(arguments.samples)
        paths = write_standard(folder, images, labels)
        write_packed(folder, images, labels)
        cases = {
            "stock webdataset, a sample a member": build_stock_epoch(paths, arguments.samples, arguments.batch),
            "ours, packed, cache=none": build_our_epoch(folder, "none", arguments.batch),
            "ours, from the cache": build_our_epoch(folder, "host", arguments.batch),
        }
        for epoch in cases.values():
            epoch()
        speeds: dict[str, list[float]] = {case: [] for case in cases}
        for _ in range(arguments.rounds):
            for case, epoch in cases.items():
                begun = time.perf_counter()
                epoch()
                speeds[case].append(arguments.samples / (time.perf_counter() - begun))
    print_and_append(speeds, arguments)


def print_and_append(speeds: dict[str, list[float]], arguments: argparse.Namespace) -> None:
    """Print the table and append its rows to results.csv; the first case is the baseline."""
    baseline = next(iter(speeds.values()))
    print(f"{'case':38} {'images/s':>9} {'ratio':>6}  spread of ratios")
    for case, values in speeds.items():
        ratios = [value / base for value, base in zip(values, baseline, strict=True)]
        spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
        print(f"{case:38} {statistics.median(values):9.0f} {statistics.median(ratios):6.2f}  {spread}")
        append_row(
            benchmark="stream",
            case=case,
            metric="images/s",
            value=statistics.median(values),
            unit="1/s",
            ratio=statistics.median(ratios),
            spread=spread,
            command=f"python benchmarks/bench_stream.py --samples {arguments.samples} --rounds {arguments.rounds} "
            f"--batch {arguments.batch}",
        )


if __name__ == "__main__":
    main()
