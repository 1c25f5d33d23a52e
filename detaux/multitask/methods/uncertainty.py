"""Hard sharing whose weights of the task losses are learned."""

from torch import nn

from detaux.multitask.methods.base import ParameterGroup
from detaux.multitask.methods.hard_sharing import HardSharing
from detaux.multitask.weightings.uncertainty import UncertaintyWeights


class UncertaintyWeighting(HardSharing):
    """Train hard sharing's network and, at a rate of their own, the uncertainty of each task."""

    def build_weighting(self) -> nn.Module:
        settings = self.spec.config.uncertainty
        return UncertaintyWeights(len(self.spec.classes), self.spec.weight, settings.init)

    def list_groups(self) -> list[ParameterGroup]:
        # decay would pull a learned weight towards 1; at the network's rate it would hardly leave its start
        learned = ParameterGroup(
            list(self.weighting.parameters()), self.spec.config.uncertainty.lr_factor, weight_decay=0.0
        )
        return [ParameterGroup(list(self.network.parameters())), learned]
