"""Open datasets, one file each: `open_NAME(config)` in NAME.py describes the dataset NAME as a Source."""

from collections.abc import Callable
from importlib import import_module

from detaux.config.schema import DataConfig
from shards.records import Source


def open_source(config: DataConfig) -> Source:
    """Open the Source of `data.source`. Raises UserError if its files are missing or malformed."""
    module = import_module(f"shards.datasets.{config.source}")
    opener: Callable[[DataConfig], Source] = getattr(module, f"open_{config.source}")
    return opener(config)
