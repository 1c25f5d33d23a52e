"""List the methods by their name in `multitask.methods`, which is also the name of their file.

A method that trains all tasks together takes a rule for their losses: `hard_sharing+uncertainty`. To add a method in a
file of your own, call `register` before you call the stage from Python.
"""

import dataclasses

from detaux.multitask.aggregators import AGGREGATORS
from detaux.multitask.methods.auxilearn import AuxiLearn
from detaux.multitask.methods.auxilearn_combine import AuxiLearnCombine
from detaux.multitask.methods.balanced import Balanced
from detaux.multitask.methods.base import Method, TaskSpec
from detaux.multitask.methods.hard_sharing import HardSharing
from detaux.multitask.methods.maxl import Maxl
from detaux.multitask.methods.mti import Mti
from detaux.multitask.methods.nddr import Nddr
from detaux.multitask.methods.stl import SingleTask
from detaux.multitask.methods.stl_long import LongSingleTask
from detaux.multitask.weightings import FIXED

METHODS: dict[str, type[Method]] = {
    "stl": SingleTask,
    "stl_long": LongSingleTask,
    "balanced": Balanced,
    "hard_sharing": HardSharing,
    "nddr": Nddr,
    "mti": Mti,
    "maxl": Maxl,
    "auxilearn": AuxiLearn,
    "auxilearn_combine": AuxiLearnCombine,
}


def register(name: str, method: type[Method]) -> None:
    """Add a method under a name. Raises ValueError if another method has that name."""
    if METHODS.setdefault(name, method) is not method:
        raise ValueError(f"a method called {name!r} is registered already")


def find_method(name: str) -> type[Method]:
    """Return the class of the method `name`, which may end with + and a rule for the task losses."""
    return METHODS[name.partition("+")[0]]


def reads_weight(name: str) -> bool:
    """Return whether the weight of the auxiliary losses matters to the method `name`, which reads labels."""
    rule = name.partition("+")[2]
    return find_method(name).reads_weight and (rule not in AGGREGATORS or AGGREGATORS[rule].reads_weight)


def build_method(name: str, spec: TaskSpec) -> Method:
    """Build the method `name` for a specification. Torch's global generator draws its weights."""
    return find_method(name)(dataclasses.replace(spec, rule=name.partition("+")[2] or FIXED))
