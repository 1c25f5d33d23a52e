"""A program of the tests, one rank of one or several: take steps of MTI-Net in float64 and print losses and weights as JSON."""

import json

import torch

from detaux.config.schema import EngineConfig, MultitaskConfig
from detaux.multitask.batches import TaskBatch
from detaux.multitask.methods import build_method
from detaux.multitask.methods.base import TaskSpec
from detaux.runtime.collectives import global_mean, take_part
from detaux.runtime.ranks import is_first, join_ranks, world_size

BATCH, STEPS = 3, 2  # images of a task; they do not divide over two ranks

torch.set_num_threads(1)
with join_ranks(torch.device("cpu")):
    torch.manual_seed(0)
    method = build_method("mti", TaskSpec(MultitaskConfig(), 32, [2, 3], 0.7)).double()
    before = [parameter.detach().clone() for parameter in method.parameters()]
    # SGD shows the size of a gradient, which Adam divides out
    (player,) = method.list_players()
    player.optimizer = torch.optim.SGD(method.parameters(), 0.01)
    player.start(EngineConfig(), torch.device("cpu"), lambda step: 1.0)
    losses = []
    for _ in range(STEPS):
        images, part = torch.rand(2, BATCH, 3, 32, 32, dtype=torch.float64), take_part(BATCH)
        labels = torch.arange(BATCH)[part]
        batches = [TaskBatch(images[task, part], {task: labels % (2 + task)}, BATCH / world_size()) for task in (0, 1)]
        losses.append(global_mean(player.descend(batches).detach()).item())
    if is_first():
        moved = [(now.detach() - old).norm().item() for now, old in zip(method.parameters(), before, strict=True)]
        print(json.dumps({"losses": losses, "moved": moved}))
