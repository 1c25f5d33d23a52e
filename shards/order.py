"""List the sample keys that a rank will see (`detaux shards order`), read by the same stream as in training."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from detaux.config.schema import DataConfig
from detaux.data.plan import list_positions
from detaux.data.stream import SampleStream
from detaux.errors import UserError


@dataclass(frozen=True)
class OrderQuery:
    """Describe the samples to list: those of rank `rank` out of `world`, in epoch `epoch`, from its sample `start` on.

    batch is the number of images in a step, all ranks together. seed, window and workers are the run's run.seed,
    data.window and data.workers. The order does not depend on workers.
    """

    world: int = 1
    rank: int = 0
    workers: int = 0
    epoch: int = 0
    start: int = 0
    batch: int = 64
    seed: int = 0
    window: int = DataConfig.window


def parse_query(arguments: Sequence[str]) -> OrderQuery:
    """Parse a query from key=value arguments. Raises UserError for an unknown key or a value that is not allowed."""
    allowed = {field.name: field.default for field in fields(OrderQuery)}
    found = {}
    for text in arguments:
        name, _, value = text.partition("=")
        if name not in allowed or not value.isdecimal():
            known = ", ".join(f"{key}={default}" for key, default in allowed.items())
            raise UserError(
                f"argument {text!r} is not allowed; shards order takes these keys, with whole numbers: {known} (defaults)."
            )
        found[name] = int(value)
    query = OrderQuery(**found)
    if not query.rank < query.world:
        raise UserError(f"rank={query.rank} is not below world={query.world}; ranks count from 0.")
    return query


def list_keys(folder: Path, query: OrderQuery) -> Iterator[str]:
    """Yield the keys of the training samples that a rank sees, in order, to the end of the epoch.

    Raises UserError if there is nothing to list or if the batch does not divide evenly over the ranks.
    """
    config = DataConfig(cache="none", workers=query.workers, window=query.window)
    stream = SampleStream(folder, "train", config, seed=query.seed, device=torch.device("cpu"))
    if query.start >= stream.samples:
        raise UserError(f"start={query.start} is not below {stream.samples}, the samples of an epoch.")
    first = query.epoch * stream.samples
    positions = list_positions(
        first + query.start, first + stream.samples, batch=query.batch, rank=query.rank, world_size=query.world
    )
    for span in positions:
        yield from stream.window(span.start, len(span)).keys(list(range(len(span))))
