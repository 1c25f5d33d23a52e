import pytest
import torch
from torch import nn
from torch.nn import functional

from detaux.multitask import gradients
from detaux.multitask.gradients import list_shared, write_gradients


class Network(nn.Module):
    """Three tasks, and a layer outside of the heads that only the last one reaches."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        self.heads = nn.ModuleList(nn.Linear(4, count) for count in (2, 3, 4))
        self.last = nn.Linear(4, 4)

    def forward(self, images):
        features = self.body(images).mean((2, 3))
        return [self.heads[0](features), self.heads[1](features), self.heads[2](self.last(features))]


def compute_losses(network):
    images = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [functional.cross_entropy(logits, torch.arange(5) % logits.shape[1]) for logits in network(images)]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network().double().to(memory_format=torch.channels_last)


def test_jacobian_has_the_gradient_of_each_task(network):
    seen = []
    write_gradients(network, compute_losses(network), lambda jacobian: seen.append(jacobian) or jacobian.sum(0))
    for task, row in enumerate(seen[0]):
        network.zero_grad(set_to_none=False)
        compute_losses(network)[task].backward()
        flat = [parameter.grad.flatten() for parameter in list_shared(network)]
        torch.testing.assert_close(row, torch.cat(flat), rtol=0, atol=1e-15)
    assert (seen[0][:2, -20:] == 0).all()
    assert (seen[0][2, -20:] != 0).any()


def test_shared_layers_get_the_aggregate_and_heads_their_own_gradient(network):
    write_gradients(network, compute_losses(network), lambda jacobian: 2 * jacobian[0] - jacobian[2])
    found = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert found["body.weight"].stride() == network.body.weight.stride()
    network.zero_grad()
    losses = compute_losses(network)
    (2 * losses[0] - losses[2]).backward(retain_graph=True)
    for name in ("body.weight", "body.bias", "last.weight", "last.bias"):
        torch.testing.assert_close(found[name], network.get_parameter(name).grad, rtol=0, atol=1e-15)
    for task, loss in enumerate(losses):
        for name in ("weight", "bias"):
            name = f"heads.{task}.{name}"
            (own,) = torch.autograd.grad(loss, network.get_parameter(name), retain_graph=True)
            torch.testing.assert_close(found[name], own, rtol=0, atol=1e-15)


def test_gradients_are_means_over_ranks_before_they_are_aggregated(network, monkeypatch):
    losses = compute_losses(network)
    monkeypatch.setattr(gradients, "global_mean", lambda values: torch.ones_like(values))
    write_gradients(network, losses, lambda jacobian: jacobian.sum(0))
    assert torch.equal(network.body.weight.grad, torch.full_like(network.body.weight, 3))
    assert torch.equal(network.heads[1].weight.grad, torch.ones_like(network.heads[1].weight))
