"""Open CIFAR-10: 50,000 + 10,000 colour photographs of 32 x 32 pixels, in the binary version (Krizhevsky, 2009)."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.published import find_published
from shards.records import Records, Source, read_resized
from shards.tars import name_damage, read_tar_files

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ARCHIVE, FOLDER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]
TEST = "test_batch.bin"
NAMES = "batches.meta.txt"  # the names of the classes, one a line
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE  # bytes: the label, then the red, green and blue plane, each row by row
# most bytes of a file; a published batch has 31 million
MOST_BYTES = {**dict.fromkeys([*TRAIN, TEST], 2**28), NAMES: 2**12}
WANTED = f"the published {ARCHIVE}, or its unpacked folder {FOLDER}"
OTHER_VERSIONS = {  # a name that only another archive of the authors has -> that archive
    **dict.fromkeys(
        ("data_batch_1", "cifar-10-batches-py", "cifar-10-python.tar.gz"),
        "the Python version of CIFAR-10, which is pickled",
    ),
    "data_batch_1.mat": "the MATLAB version of CIFAR-10",
    "train.bin": "CIFAR-100",
    "train": "CIFAR-100",
    "train.mat": "CIFAR-100",
}


def open_cifar10(config: DataConfig) -> Source:
    """Return both published splits, the training split first.

    Raises UserError if `data.path` holds only another version, or files that are missing, damaged, equal or cut short.
    """
    origin, files = _read_files(find_published(config, WANTED))
    if NAMES in files and files[NAMES].decode("utf-8", "replace").split() != CLASSES:
        raise UserError(f"{origin}: {NAMES} does not have the ten classes of CIFAR-10; {WANTED} is needed.")
    batches = [_check_batch(origin, name, files[name]) for name in (*TRAIN, TEST)]
    first_of: dict[bytes, str] = {}
    for name in (*TRAIN, TEST):
        if (other := first_of.setdefault(files[name], name)) != name:
            raise UserError(f"{origin}: {name} is a copy of {other}; each batch has its own images.")
    _refuse_unequal(origin, dict(zip(TRAIN, map(len, batches), strict=False)))
    labels = np.concatenate([batch[:, 0] for batch in batches]).astype(np.int64)
    test_images = len(batches[-1])

    def read() -> Iterator[Records]:
        for batch in batches:
            planes = batch[:, 1:].reshape(-1, 3, SIDE, SIDE)
            yield from read_resized(planes.transpose(0, 2, 3, 1), config.side)

    return Source(
        name="cifar10",
        factors={"class": len(CLASSES)},
        value_names={"class": CLASSES},
        default_principal="class",
        count=len(labels),
        factor_values=labels[:, None],
        published_split=np.repeat(["train", "test"], [len(labels) - test_images, test_images]),
        read=read,
    )


def _read_files(path: Path) -> tuple[Path, dict[str, bytes]]:
    """Read the batches from the archive or the folder. Return where they are, and their contents by name."""
    if path.is_dir() and not (path / TEST).exists():  # the folder that the archive was put into, or unpacked into
        path = next((inner for inner in (path / FOLDER, path / ARCHIVE) if inner.exists()), path)
    if path.is_dir():
        files, others = _read_folder(path)
    else:
        with name_damage(path):
            files, others = read_tar_files(path, MOST_BYTES)
    if missing := [name for name in (*TRAIN, TEST) if name not in files]:
        if version := next((version for name, version in OTHER_VERSIONS.items() if name in others), None):
            raise UserError(f"{path} holds {version} and is not read; {WANTED} is needed.")
        raise UserError(f"{path} lacks {', '.join(missing)}; {WANTED} is needed.")
    if extra := [name for name in others if re.fullmatch(r"data_batch_.*\.bin", name)]:
        raise UserError(f"{path} holds {extra[0]}; CIFAR-10 has {len(TRAIN)} training batches.")
    return path, files


def _read_folder(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """Read the batches of a folder, and list its other files."""
    files, others = {}, []
    for path in sorted(folder.iterdir()):
        if path.name not in MOST_BYTES or not path.is_file():
            others.append(path.name)
        elif path.stat().st_size > MOST_BYTES[path.name]:
            raise UserError(f"{path} has {path.stat().st_size} bytes; at most {MOST_BYTES[path.name]} are read.")
        else:
            files[path.name] = path.read_bytes()
    return files, others


def _check_batch(origin: Path, name: str, data: bytes) -> np.ndarray:
    """Return the records of a batch, uint8 [n, RECORD]. Raises UserError if it is cut short or has another label."""
    if not data or len(data) % RECORD:
        raise UserError(
            f"{origin}: {name} has {len(data)} bytes, which is no multiple of the {RECORD} of an image: it is cut short, or "
            "another file."
        )
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, RECORD)
    if (largest := records[:, 0].max()) >= len(CLASSES):
        raise UserError(f"{origin}: {name} has the label {largest}; CIFAR-10 has 0 to {len(CLASSES) - 1}.")
    return records


def _refuse_unequal(origin: Path, counts: dict[str, int]) -> None:
    """Raise UserError if a training batch has fewer images than another, so that it may be cut between two images."""
    fullest = max(counts, key=counts.__getitem__)
    for name, count in counts.items():
        if count < counts[fullest]:
            raise UserError(
                f"{origin}: {name} has {count:,} images, but {fullest} has {counts[fullest]:,}; training batches have "
                "equal sizes."
            )
