"""The step of a method leaves values on the device: the host reads none."""

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn

from detaux.backbones.hrnet import HighResolutionNet
from detaux.config.schema import MultitaskConfig, NddrConfig
from detaux.multitask.methods import METHODS
from detaux.multitask.methods.base import TaskSpec
from detaux.multitask.methods.nddr import Nddr

take_step = runpy.run_path(str(Path(__file__).parents[1] / "host_reads.py"))["take_step"]
CONFIG = MultitaskConfig(head_hidden=8)
SPEC = TaskSpec(CONFIG, 16, [2, 3], 0.5)
READS = {
    "item": lambda tensor: tensor.sum().item(),
    "cpu": lambda tensor: tensor.cpu(),
    "to": lambda tensor: tensor.to("cpu"),
    "bool": lambda tensor: bool(tensor.sum() > 0),
    "list": lambda tensor: tensor.tolist(),
    "float": lambda tensor: float(tensor.sum()),
    "int": lambda tensor: int(tensor.sum()),
    "array": lambda tensor: tensor.detach().numpy(),
    "mask": lambda tensor: tensor[tensor > 0],
    "copy": lambda tensor: torch.zeros(tensor.shape).copy_(tensor),
}


@pytest.mark.parametrize("name", ["stl", "hard_sharing", "hard_sharing+uncertainty", "nddr", "nddr+uncertainty"])
def test_step_reads_no_value(name):
    assert take_step(name, SPEC).is_meta


class Branches(nn.Module):
    """A stand-in for HRNet, which takes ten seconds without values: one convolution for each branch."""

    channels, sides = HighResolutionNet.channels, [8, 4, 2, 1]

    def __init__(self, *_):
        super().__init__()
        pairs = zip(self.channels, HighResolutionNet.strides, strict=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(3, count, stride, stride) for count, stride in pairs)

    def iterate_maps(self, images):
        return [convolution(images) for convolution in self.convolutions]


def test_step_of_mti_reads_no_value(monkeypatch):
    monkeypatch.setattr("detaux.multitask.networks.mti.HighResolutionNet", Branches)
    assert take_step("mti", TaskSpec(CONFIG, 32, [2, 3], 0.5)).is_meta


def test_step_by_sgd_reads_no_value():
    assert take_step("nddr", TaskSpec(MultitaskConfig(nddr=NddrConfig(optimizer="sgd")), 16, [2, 3], 0.5)).is_meta


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("part", ["network", "loss"])
def test_step_that_reads_a_value_fails(read, part, monkeypatch):
    class Reading(Nddr):
        def build_network(self):
            network = super().build_network()
            if part == "network":
                network.fusions[1].register_forward_hook(lambda module, maps, fused: READS[read](fused[0]) and None)
            return network

        def compute_loss(self, batches):
            loss = super().compute_loss(batches)
            if part == "loss":
                READS[read](loss)
            return loss

    monkeypatch.setitem(METHODS, "nddr", Reading)
    with pytest.raises((RuntimeError, TypeError), match="[Mm]eta"):
        take_step("nddr", SPEC)
