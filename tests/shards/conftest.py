"""Small configs, datasets in memory and pictures on disk for the shard tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detaux.config import Config, load_config
from detaux.config.schema import DataConfig
from detaux.data.decode import decode_group, iterate_groups
from detaux.data.schema import Manifest, read_manifest
from shards.build import build_shards
from shards.records import Records, Source

SMALL_GRID = "data.grid=[2,2,2,2,4,2]"


@pytest.fixture
def make_config() -> Callable[..., Config]:
    """make_config(source, "key=value", ...): the default config with these overrides."""

    def make(source: str, *overrides: str) -> Config:
        return load_config(None, [f"data.source={source}", "data.side=16", *overrides])

    return make


@pytest.fixture
def make_data(make_config: Callable[..., Config]) -> Callable[..., DataConfig]:
    """make_data(source, "key=value", ...): the data section of make_config."""
    return lambda source, *overrides: make_config(source, *overrides).data


@pytest.fixture
def build(tmp_path: Path, make_config: Callable[..., Config]) -> Callable[..., Path]:
    """build(layout, "key=value", ...): a shard set of 64 rendered scenes in several tars and blocks."""

    def make(layout: str = "packed", *overrides: str) -> Path:
        folder = tmp_path / f"set-{layout}"
        small = ["data.principal=shape", SMALL_GRID, "data.block_samples=8", "data.shard_samples=32"]
        build_shards(make_config("shapes3d", *small, f"data.layout={layout}", *overrides), folder)
        return folder

    return make


@pytest.fixture
def make_source() -> Callable[..., Source]:
    """make_source(labels, ...): a dataset of one factor `class`, its images all black."""

    def make(labels: list[int], published: list[str] | None = None, **fields: Any) -> Source:
        classes = max(labels) + 1
        values = {
            "name": "toy",
            "factors": {"class": classes},
            "value_names": {"class": [f"c{index}" for index in range(classes)]},
            "default_principal": "class",
            "count": len(labels),
            "factor_values": np.array(labels, dtype=np.int64)[:, None],
            "published_split": None if published is None else np.array(published),
            "read": lambda: iter([Records(np.zeros((len(labels), 16, 16, 3), np.uint8))]),
        }
        return Source(**{**values, **fields})

    return make


@pytest.fixture
def write_pictures(tmp_path: Path) -> Callable[..., Path]:
    """write_pictures(cats=5, dogs=5): a folder of class folders with PNG noise."""

    def write(**classes: int) -> Path:
        draw = np.random.default_rng(0)
        root = tmp_path / "pictures"
        for name, count in classes.items():
            (root / name).mkdir(parents=True)
            for index in range(count):
                pixels = draw.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / name / f"{index:03d}.png")
        return root

    return write


@pytest.fixture
def read_images() -> Callable[[Source], np.ndarray]:
    """read_images(source): all images of a dataset in its order."""
    return lambda source: np.concatenate([records.images for records in source.read()])


@pytest.fixture
def read_samples() -> Callable[[Path], dict[str, tuple[str, int, bytes, tuple[int, ...] | None]]]:
    """read_samples(folder): key -> (split, label, pixels, factors) of a shard set of either layout."""

    def read(folder: Path) -> dict[str, tuple[str, int, bytes, tuple[int, ...] | None]]:
        manifest: Manifest = read_manifest(folder)
        samples = {}
        for shard in manifest.shards:
            with (folder / shard.name).open("rb") as stream:
                for group in iterate_groups(stream):
                    arrays = decode_group(group, manifest.layout, manifest.side, manifest.channels)
                    for index, key in enumerate(arrays.keys):
                        factors = None if arrays.factors is None else tuple(arrays.factors[index].tolist())
                        pixels = arrays.images[index].tobytes()
                        samples[key] = (shard.split, int(arrays.labels[index]), pixels, factors)
        return samples

    return read
