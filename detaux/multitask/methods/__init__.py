"""How task losses become one loss, by the name `multitask.methods` gives it.

A method is a function (config, tasks) -> Weighting; the network is the same for all: one backbone, one head per task.
"""

from collections.abc import Callable

from detaux.multitask.methods.hard_sharing import FixedWeights
from detaux.multitask.methods.uncertainty import UncertaintyWeights

Weighting = FixedWeights | UncertaintyWeights

# stl is hard sharing with one task; `weight` is that of the auxiliary losses
METHODS: dict[str, Callable[[int, float], Weighting]] = {
    "stl": FixedWeights,
    "hard_sharing": FixedWeights,
    "uncertainty": UncertaintyWeights,
}
