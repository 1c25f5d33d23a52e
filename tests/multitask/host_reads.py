"""Take a training step without values: whatever reads a tensor on the host fails, as it would wait for a GPU there.

Tensors are on torch's meta device. `.item()`, `.cpu()`, `bool(tensor)`, `.tolist()`, `float(tensor)`, `.numpy()`, a mask
as an index, and every other use of a value or of a shape that depends on values raise there. What an optimiser counts is
on the CPU on a GPU too, and may be read.
"""

import itertools

import torch

from detaux.config.schema import EngineConfig
from detaux.multitask.batches import TaskBatch
from detaux.multitask.methods import build_method


def take_step(name, spec, count=4):
    """Take a step of the method on `count` images of each stream. Raises an error if it reads a value."""
    device = torch.device("meta")
    method = build_method(name, spec).to(device)
    players = method.list_players()
    for player in players:
        player.start(EngineConfig(), device, lambda _: 1.0)
    images = torch.empty(count, 3, spec.side, spec.side, device=device)
    labels = torch.zeros(count, dtype=torch.long, device=device)
    streams = [itertools.repeat(TaskBatch(images, {task: labels}, float(count))) for task in range(len(spec.classes))]
    return method.train().step(players, streams)
