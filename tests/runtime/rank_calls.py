"""A program of the tests, one rank of several: call what ranks, collectives and agreement offer and print the results as JSON."""

import json
import sys
import time

import torch

from detaux.errors import NothingFoundError
from detaux.runtime import agreement, collectives, ranks
from detaux.runtime.loop import Meter, run_loop

torch.set_num_threads(1)


def fail():
    raise NothingFoundError("nothing here.")


def differentiate(function, values):
    """function(values) and the gradient of the mean over ranks of sum(weights x function(values)), weights by rank."""
    values = values.double().requires_grad_()
    result = function(values)
    weights = torch.arange(1, result.numel() + 1).reshape(result.shape) * (ranks.rank() + 1)
    (gradient,) = torch.autograd.grad((weights * result).sum(), values)
    return {"value": result.tolist(), "gradient": gradient.tolist()}


def run_first_fails():
    try:
        agreement.run_first(fail)
    except NothingFoundError as error:
        return [str(error), error.exit_code, error.is_told]


def fail_late():
    """Rank 0 is done long before rank 1 fails."""
    if ranks.rank() == 1:
        time.sleep(0.5)
        fail()


def run_each_fails():
    try:
        agreement.run_each(fail_late)
    except NothingFoundError as error:
        return [str(error), error.exit_code, error.is_told]


def loop_to_signal(number, steps):
    """Steps that a loop of some takes before it stops, where rank 1 is signalled in step 3."""
    saved = []

    def step(index):
        if index == 3 and ranks.rank() == 1:
            import os

            os.kill(os.getpid(), number)
        return {"total": torch.tensor(1.0)}

    quiet = {"log_interval": 100, "checkpoint_interval": 100, "log": lambda *_: None, "save": saved.append}
    try:
        run_loop(step, description="test", first_step=0, steps=steps, **quiet)
    except Exception as error:
        return [saved, error.exit_code, error.is_told]


with ranks.join_ranks(torch.device("cpu")):
    here = ranks.rank()
    meter = Meter()
    meter.add({"total": torch.tensor(1.0 + here), "shares": torch.tensor([here, 4.0])})
    if here == 1:
        meter.add({"only here": torch.tensor(5.0)})
    broken = Meter()
    broken.add({"total": torch.tensor(1.0), "distance": torch.tensor(float("nan") if here == 1 else 1.0)})
    with ranks.alone():
        by_itself = [ranks.rank(), ranks.world_size(), collectives.gather_objects(here)]
    vote = agreement.Vote()
    found = {
        "rank": [here, ranks.world_size(), ranks.is_first()],
        "alone": by_itself,
        "mean": differentiate(collectives.global_mean, torch.tensor([1.0, 2.0]) * (here + 1)),
        "gather": differentiate(collectives.gather_rows, torch.tensor([[1.0, 2.0]]) * (here + 1)),
        "shared": collectives.compute_on_first(lambda: {"from": here}),
        "gathered": collectives.gather_objects([here]),
        "parts": [[part.start, part.stop] for part in map(collectives.take_part, (1, 4, 5))],
        "collected": [
            collectives.collect_parts(torch.arange(size)[collectives.take_part(size)], size).tolist()
            for size in (1, 4, 5)
        ],
        "first": agreement.run_first(lambda: [here, ranks.world_size()]),
        "first fails": run_first_fails(),
        "each": agreement.run_each(lambda: here),
        "each fails": run_each_fails(),
        "means": meter.read()[0],
        "not finite": broken.find_non_finite(),
        "votes": [vote.cast(number) for number in (0, 7 * here, 0, 0)],
        "signal": loop_to_signal(10, 50),
        "late signal": loop_to_signal(10, 4),
    }
print(json.dumps(found))
sys.stdout.flush()
