"""Train one network for all tasks: a backbone that they share, and a head for each (hard parameter sharing)."""

from torch import nn

from detaux.multitask.methods.joint import JointTraining
from detaux.multitask.networks.hard_sharing import HardSharingNetwork


class HardSharing(JointTraining):
    """Train one backbone with a head for each task, by a weighted sum of the task losses."""

    def build_network(self) -> nn.Module:
        return HardSharingNetwork(self.spec.config, self.spec.side, self.spec.classes)
