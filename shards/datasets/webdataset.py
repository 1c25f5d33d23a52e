"""Adopt existing WebDataset tars in the standard layout: an image and a .cls (or a .json with "label") per sample."""

import glob
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from braceexpand import braceexpand

from detaux.config.schema import DataConfig
from detaux.data.decode import PIL_FORMATS, BadSampleError, decode_image, decode_integer, decode_json, iterate_groups
from detaux.errors import UserError
from shards.records import Records, Source, check_share, resize

Sample = tuple[str, np.ndarray | None, int | None, str | None]  # key, image, label, what makes it unusable


def open_webdataset(config: DataConfig) -> Source:
    """Samples of the tars that `data.path` names: a tar, a folder of tars, a glob or a brace pattern.

    A sample with neither .cls nor a label in its .json is an image without a label: -1.
    """
    if not config.path:
        raise UserError("data.source=webdataset needs data.path, a tar, a folder of tars, or a pattern of them.")
    tars = _list_tars(config.path)
    labels, keys, quarantined = [], [], []
    for key, _, label, problem in _iterate(tars):
        if problem:
            quarantined.append({"file": key, "reason": problem})
        else:
            keys.append(key)
            labels.append(label)
    check_share(f"data.path={config.path}", quarantined, len(keys) + len(quarantined), config.max_bad_fraction)
    values = sorted({label for label in labels if label is not None})
    if len(values) < 2:
        raise UserError(f"data.path={config.path} holds {len(values)} classes; at least two are needed.")
    index_of: dict[int | None, int] = {None: -1, **{value: index for index, value in enumerate(values)}}

    def read() -> Iterator[Records]:
        for _, image, _, problem in _iterate(tars):
            if not problem:
                assert image is not None
                yield Records(resize(image[None], config.side))

    return Source(
        name="webdataset",
        factors={"class": len(values)},
        value_names={"class": [str(value) for value in values]},
        default_principal="class",
        count=len(keys),
        factor_values=np.array([[index_of[label]] for label in labels], dtype=np.int64),
        published_split=None,
        read=read,
        keys=keys,
        quarantined=quarantined,
    )


def _list_tars(pattern: str) -> list[Path]:
    root = Path(pattern).expanduser()
    if root.is_dir():
        found = sorted(root.glob("*.tar"))
    else:
        found = sorted({Path(name) for part in braceexpand(str(root)) for name in glob.glob(part)})
    if not found:
        raise UserError(f"data.path={pattern} names no tar file.")
    return found


def _iterate(tars: list[Path]) -> Iterator[Sample]:
    """Every sample of every tar."""
    for path in tars:
        try:
            _check_end(path)
            with path.open("rb") as stream:
                for group in iterate_groups(stream):
                    yield _decode(path, group)
        except Exception as error:  # tar libraries raise nearly anything; how many samples are lost is unknown
            raise UserError(f"{path} is no tar, or is cut short: {' '.join(str(error).split())}.") from None


def _check_end(path: Path) -> None:
    """Raise ValueError where a plain tar does not end in two empty blocks: it is cut short, and reads as if it ended there."""
    with path.open("rb") as stream:
        if stream.read(2) == b"\x1f\x8b":  # gzip has an end and a checksum of its own
            return
        stream.seek(max(0, path.stat().st_size - 2 * tarfile.BLOCKSIZE))
        if stream.read().strip(b"\0"):
            raise ValueError("it lacks the two empty blocks at the end of a tar")


def _decode(path: Path, group: dict[str, Any]) -> Sample:
    key = f"{path.stem}/{group['__key__']}"
    try:
        suffix = next((name for name in PIL_FORMATS if name in group), None)
        if suffix is None:
            raise BadSampleError(f"{key}: no {', '.join(PIL_FORMATS)} member")
        image = decode_image(group[suffix], suffix, f"{key}.{suffix}")
        if "cls" in group:
            return key, image, decode_integer(group["cls"], f"{key}.cls"), None
        label = decode_json(group.get("json", b"{}"), f"{key}.json").get("label")
        if not isinstance(label, int | None):
            raise BadSampleError(f"{key}.json: the label is no integer")
        return key, image, label, None
    except BadSampleError as error:
        return key, None, None, str(error)
