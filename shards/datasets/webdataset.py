"""Open existing WebDataset tars in the standard layout: per sample an image and a .cls, or a .json with "label"."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from detaux.config.schema import DataConfig
from detaux.data.decode import PIL_FORMATS, BadSampleError, decode_integer, decode_json
from detaux.errors import UserError, raise_machine_fault
from detaux.runtime.text import show_name
from shards.pictures import read_picture
from shards.records import Records, Source, check_share
from shards.tar_names import list_tars
from shards.tars import SUFFIXES, Group, name_damage, read_tar_groups

UNLABELLED = -1  # a sample without a label, as in our own sets


def open_webdataset(config: DataConfig) -> Source:
    """Open the samples of the tars that `data.path` names: a tar, a folder of tars, a glob or a brace pattern.

    A sample with neither a .cls nor a label in its .json has label -1, which means none.
    """
    listing = list_tars(config.path)
    tars = listing.paths
    labels, keys, quarantined, is_usable = [], [], [], []
    folder = os.path.commonpath([path.parent for path in tars])
    for path, group in _iterate(tars):
        key = show_name(f"{_strip_suffix(path.relative_to(folder))}/{group.key}")
        try:
            if group.fault is not None:
                raise BadSampleError(group.fault)
            label = _read_label(group)
            _read_image(path, group, 8)
        except BadSampleError as error:
            quarantined.append({"file": key, "reason": str(error)})
            is_usable.append(False)
        else:
            keys.append(key)
            labels.append(label)
            is_usable.append(True)
    check_share(f"data.path={config.path}", quarantined, len(keys) + len(quarantined), config.max_bad_fraction)
    values = sorted(set(labels) - {UNLABELLED})
    if len(values) < 2:
        first = f"; {quarantined[0]['file']}: {quarantined[0]['reason']}" if quarantined else ""
        raise UserError(f"data.path={config.path} holds {len(values)} classes; at least two are needed{first}.")
    index_of = {UNLABELLED: -1, **{value: index for index, value in enumerate(values)}}

    def read() -> Iterator[Records]:
        # if a tar has changed meanwhile, the numbers of samples differ, and the builder refuses that
        for is_wanted, (path, group) in zip(is_usable, _iterate(tars), strict=False):
            if is_wanted:
                yield Records(_read_image(path, group, config.side)[None])

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
        passed_over=listing.passed_over,
    )


def _iterate(tars: list[Path]) -> Iterator[tuple[Path, Group]]:
    """Yield every sample of every tar, with the path of its tar."""
    for path in tars:
        with name_damage(path):
            for group in read_tar_groups(path):
                yield path, group


def _strip_suffix(path: Path) -> str:
    suffix = next((one for one in SUFFIXES if path.name.lower().endswith(one)), "")
    return str(path)[: len(str(path)) - len(suffix)]


def _read_image(tar: Path, group: Group, side: int) -> np.ndarray:
    """Read the sample's picture as uint8 RGB [side, side, 3]. Raises BadSampleError if it cannot be read."""
    suffix = next((name for name in PIL_FORMATS if name in group.fields), None)
    if suffix is None:
        dotted = next((name for name in group.others if name.endswith(tuple(f".{one}" for one in PIL_FORMATS))), None)
        raise BadSampleError(
            f"no {', '.join(PIL_FORMATS)} member"
            if dotted is None
            else f"no image member but {dotted!r}: in WebDataset, all that follows the first dot of a name is the field"
        )
    try:
        return read_picture(io.BytesIO(group.fields[suffix]), side, [PIL_FORMATS[suffix]])
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        raise_machine_fault(error, tar)
        raise BadSampleError(f"not a readable {suffix}: {error}") from None


def _read_label(group: Group) -> int:
    """Read the sample's label, -1 if it has none."""
    if "cls" in group.fields:
        label = decode_integer(group.fields["cls"], "its member cls")
    else:
        found = decode_json(group.fields.get("json", b"{}"), "its member json").get("label")
        if found is not None and type(found) is not int:
            raise BadSampleError("its member json: the label is no integer")
        label = UNLABELLED if found is None else found
    if label < UNLABELLED:
        raise BadSampleError(f"the label is {label}; 0 and more are classes, -1 is no label")
    return label
