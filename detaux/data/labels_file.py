"""Write and read labels.parquet, the auxiliary labels of the training images. A person may edit it after discovery."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from detaux.artefacts import DISCOVERY_NAME
from detaux.config import Config
from detaux.config.variants import list_variants
from detaux.errors import UserError
from detaux.runtime.files import atomic_path
from detaux.runtime.readers import describe_damage, read_json
from detaux.stages import LABELS

WAY_ON = "mend it, or remove it and run `detaux discover` again"
MARK = b"uses_ground_truth"


def write_labels(path: Path, columns: Mapping[str, Any], *, is_upper_bound: bool) -> None:
    """Write a row for each training image. `columns` are key, aux_0, probability_0, ...

    The file's metadata say whether the training that led to the labels used ground truth.
    """
    with atomic_path(path) as partial:
        marks = {MARK: str(is_upper_bound).lower().encode()}
        pyarrow.parquet.write_table(pyarrow.table(dict(columns)).replace_schema_metadata(marks), partial)


def read_labels(path: Path) -> dict[str, int]:
    """Read the labels of the first auxiliary task, aux_0, by sample key.

    Raises UserError if the file is no parquet file, lacks a column, gives a key two labels, or holds anything but text
    keys and whole numbers from 0 on.
    """
    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{describe_damage(path, 'parquet file', error)}; {WAY_ON}.") from None
    label_of: dict[str, int] = {}
    for key, value in zip(_read_column(path, table, "key"), _read_column(path, table, "aux_0"), strict=True):
        if not isinstance(key, str):
            raise UserError(f"{path}: key holds {key!r}; the key of a sample, as text, is expected; {WAY_ON}.")
        if isinstance(value, float) and value.is_integer():  # pandas stores whole numbers as floats if one is missing
            value = int(value)
        if type(value) is not int or value < 0:
            raise UserError(f"{path}: aux_0 holds {value!r} for {key}; whole numbers from 0 on are expected; {WAY_ON}.")
        if label_of.setdefault(key, value) != value:
            raise UserError(f"{path}: aux_0 gives {key} the labels {label_of[key]} and {value}; {WAY_ON}.")
    return label_of


def _read_column(path: Path, table: pyarrow.Table, name: str) -> list[Any]:
    names = [field.name for field in table.schema]
    if names.count(name) != 1:
        found = "no column" if name not in names else f"{names.count(name)} columns"
        raise UserError(f"{path} has {found} {name}; it has {', '.join(names) or 'none'}; {WAY_ON}.")
    try:
        return table.column(names.index(name)).to_pylist()
    except (ValueError, OverflowError) as error:  # bytes that are not UTF-8, dates that Python lacks
        raise UserError(f"{path}: column {name} cannot be read: {error}; {WAY_ON}.") from None


def is_marked_upper_bound(path: Path) -> bool:
    """Return whether the training that led to the labels used known factors.

    The file's metadata say so. If a tool that edited the file dropped them, the discovery.json next to it says so.
    """
    mark = (pyarrow.parquet.read_schema(path).metadata or {}).get(MARK)
    beside = path.with_name(DISCOVERY_NAME)
    if mark is None and beside.is_file():
        return bool(read_json(beside, WAY_ON).get("pairs", {}).get("uses_ground_truth", False))
    return mark == b"true"


def list_labels(path: Path, config: Config) -> dict[str, Path]:
    """Return the files of labels that multitask reads, by their names in its record: `labels` and `labels@VARIANT`.

    `path` is the file of the run's own discovery. A variant that found no task has no labels and is left out.
    """
    root = path.parents[1]
    others = {one.input: one.locate(root) / LABELS.maker / LABELS.file for one in list_variants(config.multitask)}
    return {LABELS.name: path} | {name: other for name, other in others.items() if not found_nothing(other)}


def found_nothing(path: Path) -> bool:
    """Return whether there are no labels because discovery chose nothing, as opposed to labels that a person removed."""
    discovery = path.with_name(DISCOVERY_NAME)
    if path.is_file() or not discovery.is_file():
        return False
    return bool(read_json(discovery, "run `detaux discover` again").get("chosen", -1) == -1)
