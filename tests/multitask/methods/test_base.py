"""A method that stands outside of detaux, trained on one rank and on two."""

import json
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("rank_method.py")
METHOD = '''
"""Weights of the task losses that are learned on held-out images: two networks, two optimisers, a bi-level step."""

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from detaux.multitask.batches import Stream
from detaux.multitask.methods.base import Method, Player
from detaux.runtime.collectives import global_mean


class Network(nn.Module):
    def __init__(self, side, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 8), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(8, count) for count in classes)

    def forward(self, images):
        features = self.body(images)
        return [head(features) for head in self.heads]


class Bilevel(Method):
    learned = []

    def __init__(self, spec):
        super().__init__(spec)
        self.network = Network(spec.side, spec.classes)
        self.scale = nn.ParameterList([nn.Parameter(torch.zeros(len(spec.classes)))])
        self.learned.append(self.scale[0])

    def list_streams(self, data):
        part = len(data.labelled) // 3
        return [*super().list_streams(data), Stream((0,), data.labelled[:part])]

    def list_players(self):
        lower = torch.optim.SGD(self.network.parameters(), 0.1, momentum=0.9)
        upper = torch.optim.Adam(self.scale.parameters(), 0.05)
        return [Player(self.network, lower, self.compute_loss, clip=1.0), Player(self.scale, upper)]

    def compute_loss(self, batches, network=None):
        logits = (network or self.network)(torch.cat([batch.images for batch in batches]))
        begin, losses = 0, []
        for task, batch in enumerate(batches):
            found = logits[task][begin : begin + len(batch.images)]
            losses.append(functional.cross_entropy(found, batch.labels[task], reduction="sum") / batch.mean_size)
            begin += len(batch.images)
        return (self.scale[0].exp() * torch.stack(losses)).sum()

    def step(self, players, streams):
        lower, upper = players
        *batches, held_out = (next(stream) for stream in streams)
        weights = {name: value.detach().clone().requires_grad_() for name, value in self.network.named_parameters()}

        def call(images):
            return functional_call(self.network, weights, (images,))

        begun = torch.autograd.grad(self.compute_loss(batches, call), weights.values(), create_graph=True)
        logits = call(held_out.images)[0]
        loss = functional.cross_entropy(logits, held_out.labels[0], reduction="sum") / held_out.mean_size
        goal = torch.autograd.grad(loss, weights.values(), allow_unused=True)
        product = sum((ours * global_mean(theirs)).sum() for ours, theirs in zip(begun, goal) if theirs is not None)
        (gradient,) = torch.autograd.grad(-0.1 * product, list(self.scale.parameters()))
        self.scale[0].grad = global_mean(gradient)
        upper.step()
        return lower.descend(batches)
'''
NORMALISED = ("nn.Tanh()", "nn.BatchNorm1d(8), nn.Tanh()")


@pytest.fixture(scope="module")
def train(start_ranks_for_module, tmp_path_factory):
    """train(ranks, *changes): what rank_method.py prints for METHOD with texts replaced, as JSON or, of a failure, as text."""

    def run(ranks, *changes):
        source = METHOD
        for before, after in changes:
            assert before in source
            source = source.replace(before, after)
        path = tmp_path_factory.mktemp("method") / "bilevel.py"
        path.write_text(source)
        processes = start_ranks_for_module(ranks, PROGRAM, path, "Bilevel")
        outputs = [process.communicate(timeout=180)[0] for process in processes]
        has_failed = any(process.returncode for process in processes)
        return outputs[0] if has_failed else json.loads(outputs[0].splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def one(train):
    return train(1)


def test_method_in_a_file_of_its_own_trains_on_two_ranks_as_on_one(train, one):
    two = train(2)
    assert two["learned"] == pytest.approx(one["learned"], rel=1e-3)
    for row, expected in zip(two["curve"], one["curve"], strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    assert one["curve"][-1]["loss"] < one["curve"][0]["loss"]
    assert max(map(abs, one["learned"])) > 0.05


def test_hyper_gradient_that_is_not_reduced_is_seen(train, one):
    two = train(2, ("global_mean(gradient)", "gradient"))
    assert two["learned"] != pytest.approx(one["learned"], rel=1e-3)


def test_ranks_share_batch_statistics_also_in_second_derivatives(train):
    one, two = train(1, NORMALISED), train(2, NORMALISED)
    assert two["learned"] == pytest.approx(one["learned"], rel=1e-3)
    for row, expected in zip(two["curve"], one["curve"], strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
