import copy

import torch
from torch import nn

from detaux.multitask.bilevel.snapshot import Snapshot


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))


def test_call_uses_the_given_weights():
    module, images = nn.Linear(3, 2), torch.randn(5, 3)
    snapshot = Snapshot(module)
    torch.testing.assert_close(snapshot.call(snapshot.weights, images), module(images))
    torch.testing.assert_close(snapshot.call([2 * value for value in snapshot.weights], images), 2 * module(images))


def test_call_leaves_weights_gradients_buffers_and_random_numbers_of_the_module():
    module = build()
    before, state = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    snapshot = Snapshot(module)
    snapshot.call(snapshot.weights, torch.randn(5, 3, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(weight.grad is not None for weight in snapshot.weights)
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_is_off_only_in_the_call():
    module, images = build(), torch.randn(5, 3)
    without = copy.deepcopy(module)
    without[2].p = 0.0
    snapshot = Snapshot(module)
    torch.testing.assert_close(snapshot.call(snapshot.weights, images), without(images))
    assert all(layer.training for layer in module)
