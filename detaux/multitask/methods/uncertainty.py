"""Hard sharing whose weights of the task losses are learned."""

from torch import nn

from detaux.multitask.methods.base import Group
from detaux.multitask.methods.hard_sharing import HardSharing
from detaux.multitask.weightings.uncertainty import UncertaintyWeights


class UncertaintyWeighting(HardSharing):
    """Train hard sharing's network and, at a rate of their own, the uncertainty of each task."""

    def build_weighting(self) -> nn.Module:
        settings = self.problem.config.uncertainty
        return UncertaintyWeights(len(self.problem.classes), self.problem.weight, settings.init)

    def list_groups(self) -> list[Group]:
        # decay would pull a learned weight towards 1; at the network's rate it would hardly leave its start
        learned = Group(list(self.weighting.parameters()), self.problem.config.uncertainty.lr_factor, weight_decay=0.0)
        return [Group(list(self.network.parameters())), learned]
