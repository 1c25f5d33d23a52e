"""Train hard sharing with learned weights of the task losses (uncertainty weighting)."""

from torch import nn

from detaux.multitask.methods.base import ParameterGroup
from detaux.multitask.methods.hard_sharing import HardSharing
from detaux.multitask.weightings.uncertainty import UncertaintyWeights


class UncertaintyWeighting(HardSharing):
    """Train hard sharing's network and the uncertainty of each task, which has a learning rate of its own."""

    def build_weighting(self) -> nn.Module:
        settings = self.spec.config.uncertainty
        return UncertaintyWeights(len(self.spec.classes), self.spec.weight, settings.init)

    def list_groups(self) -> list[ParameterGroup]:
        # weight decay would pull a weight towards 1; at the network's learning rate it would hardly change
        learned = ParameterGroup(
            list(self.weighting.parameters()), self.spec.config.uncertainty.lr_factor, weight_decay=0.0
        )
        return [ParameterGroup(list(self.network.parameters())), learned]
