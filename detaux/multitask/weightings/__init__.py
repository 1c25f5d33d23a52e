"""List the rules that make one loss of the task losses. The name after `+` in `multitask.methods` picks a rule."""

from detaux.multitask.weightings.base import Weighting
from detaux.multitask.weightings.dwa import DynamicWeights
from detaux.multitask.weightings.fixed import FixedWeights
from detaux.multitask.weightings.gradnorm import GradNormWeights
from detaux.multitask.weightings.uncertainty import UncertaintyWeights

FIXED = "fixed"  # the rule of a method that names none
WEIGHTINGS: dict[str, type[Weighting]] = {
    FIXED: FixedWeights,
    "uncertainty": UncertaintyWeights,
    "dwa": DynamicWeights,
    "gradnorm": GradNormWeights,
}
