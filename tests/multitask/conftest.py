"""A small grid with labels, and the multitask stage run on it."""

import json

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from detaux.config import load_config
from detaux.data.split import load_split
from detaux.multitask.run import run_multitask
from detaux.runtime.device import select_device
from shards.build import build_shards

KEYS = (
    "data.source=shapes3d",
    "data.principal=scale",
    "data.grid=[3,3,3,2,2,1]",
    "data.side=16",
    "data.labelled_fraction=0.5",
    "multitask.epochs=2",
    "multitask.seeds=2",
    "multitask.weights=[0.5]",
    "multitask.methods=[stl, hard_sharing, hard_sharing+uncertainty]",
    "multitask.controls=[random, rotation]",
    "multitask.head_hidden=16",
    "run.threads=1",
    "run.device=cpu",
)


@pytest.fixture(scope="session")
def keys():
    return KEYS


@pytest.fixture(scope="session")
def inputs(keys, tmp_path_factory):
    """Shards of a small grid and labels.parquet with the floor hue as the discovered task."""
    root = tmp_path_factory.mktemp("inputs")
    config = load_config(None, keys)
    build_shards(config, root / "shards")
    split = load_split(root / "shards", "train", config.data, select_device(config.run))
    (root / "discover").mkdir()
    labels = split.factors[:, 0].tolist()
    table = pa.table({"key": split.keys, "aux_0": labels, "probability_0": [1.0] * len(labels)})
    parquet.write_table(table, root / "discover" / "labels.parquet")
    return root


@pytest.fixture(scope="session")
def run(keys, inputs):
    """run(folder, *changes): metrics.json of the stage run in a folder with other keys."""

    def run_in(folder, *changes):
        made_by = (inputs / name for name in ("shards", "discover", "disentangle"))
        run_multitask(load_config(None, [*keys, *changes]), *made_by, folder)
        return json.loads((folder / "metrics.json").read_text())

    return run_in


@pytest.fixture(scope="session")
def finished(run, tmp_path_factory):
    """A folder that the stage has run in, and its metrics.json."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(folder)
