"""Train a backbone for each task, with layers that fuse their maps after every stage (NDDR-CNN, Gao et al. 2019)."""

import torch
from torch import nn

from detaux.multitask.methods.base import ParameterGroup
from detaux.multitask.methods.joint import JointTraining
from detaux.multitask.networks.nddr import NddrNetwork

MOMENTUM = 0.9  # of SGD, as in the authors' code


class Nddr(JointTraining):
    """Train NDDR's network. Its fusion layers have a learning rate of their own."""

    network: NddrNetwork

    def build_network(self) -> NddrNetwork:
        return NddrNetwork(self.spec.config, self.spec.side, self.spec.classes)

    def list_last_shared(self) -> list[nn.Parameter]:
        """Return the last fusion's convolution, which the losses of all tasks reach for any backbone."""
        return [self.network.fusions[-1].convolution.weight]

    def list_groups(self) -> list[ParameterGroup]:
        network, *rest = super().list_groups()
        fusions = list(self.network.fusions.parameters())
        inside = {id(parameter) for parameter in fusions}
        others = [parameter for parameter in network.parameters if id(parameter) not in inside]
        return [ParameterGroup(others), ParameterGroup(fusions, self.spec.config.nddr.lr_factor), *rest]

    def build_optimizer(self, groups: list[ParameterGroup]) -> torch.optim.Optimizer:
        if self.spec.config.nddr.optimizer == "adamw":
            return super().build_optimizer(groups)
        return torch.optim.SGD(self.describe_groups(groups), self.spec.config.lr, momentum=MOMENTUM)
