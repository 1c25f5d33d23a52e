"""Open datasets, one file each: `open_NAME(config)` describes a dataset as a Source."""

from collections.abc import Callable
from importlib import import_module

from detaux.config.schema import DataConfig
from shards.records import Source

DATASETS = {
    "shapes3d": "shards.datasets.shapes3d:open_shapes3d",
    "fashion_mnist": "shards.datasets.fashion_mnist:open_fashion_mnist",
    "digits": "shards.datasets.digits:open_digits",
    "folder": "shards.datasets.folder:open_folder",
    "webdataset": "shards.datasets.webdataset:open_webdataset",
}


def open_source(config: DataConfig) -> Source:
    """Open the Source of `data.source`. Raises UserError if its files are missing or malformed."""
    module, name = DATASETS[config.source].split(":")
    opener: Callable[[DataConfig], Source] = getattr(import_module(module), name)
    return opener(config)
