"""A program of the tests, one rank of one or several: print hyper-gradients of a small network as JSON.

For each form: the gradient [list of numbers], and those with one of its reductions left out, one after the other. "naive" is
the gradient if each rank differentiates its own virtual step and its own use of labels, and only the results are averaged.
"""

import json
from unittest import mock

import torch

from detaux.multitask.bilevel import generator, hypergradient
from detaux.runtime.collectives import take_part
from detaux.runtime.ranks import is_first, join_ranks, world_size

COUNT, CLASSES, SLOTS = 7, 2, 3  # 7 images do not divide evenly over two ranks
BUILDERS = {
    "exact": lambda *losses: hypergradient.build_exact_objective(*losses, 0.5),
    "first_order": lambda *losses: hypergradient.build_first_order_objective(*losses, 0.5),
    "implicit": lambda *losses: hypergradient.build_implicit_objective(*losses, 0.5, 2),
}
REDUCTIONS = {"exact": 3, "first_order": 3, "implicit": 4}


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def differentiate(form, broken=None):
    """The gradient, with reduction `broken` left out."""
    part = take_part(COUNT)
    images, classes = draw(COUNT, 4, seed=0)[part], (torch.arange(COUNT) % CLASSES)[part]
    slots = CLASSES * SLOTS
    weights = [draw(4, 5, seed=1).requires_grad_(), draw(5, CLASSES + slots, seed=2).requires_grad_()]
    auxiliary = torch.nn.Parameter(draw(4, slots, seed=3))
    own = torch.arange(slots) // SLOTS == classes[:, None]
    soft = generator.masked_softmax(images @ auxiliary, own)
    mean_size = COUNT / world_size()

    def log_p(theta):
        outputs = torch.tanh(images @ theta[0]) @ theta[1]
        return [torch.log_softmax(part, 1) for part in outputs.split([CLASSES, slots], 1)]

    def goal_loss(theta):
        return -log_p(theta)[0].gather(1, classes[:, None]).sum() / mean_size

    def train_loss(theta):
        return goal_loss(theta) - (soft * log_p(theta)[1]).sum() / mean_size

    original, calls = hypergradient.average, []

    def average(values):
        calls.append(None)
        is_broken = len(calls) - 1 == broken or (broken == "naive" and len(calls) < REDUCTIONS[form])
        return [value.detach() for value in values] if is_broken else original(values)

    with mock.patch.object(hypergradient, "average", average):
        with mock.patch.object(
            generator, "global_mean", (lambda values: values) if broken == "naive" else generator.global_mean
        ):
            usage = generator.average_labels(soft, mean_size)
        objective = BUILDERS[form](train_loss, goal_loss, weights)
        objective = objective + 0.2 * generator.compute_negative_entropy(usage)
        hypergradient.write_gradients(objective, [auxiliary])
    assert len(calls) == REDUCTIONS[form]
    return auxiliary.grad.flatten().tolist()


torch.set_num_threads(1)
with join_ranks(torch.device("cpu")):
    found = {
        form: {str(broken): differentiate(form, broken) for broken in (None, "naive", *range(count))}
        for form, count in REDUCTIONS.items()
    }
    if is_first():
        print(json.dumps(found))
