"""The methods by the name that `multitask.methods` gives them, which is the name of their file.

A method in a file of your own is added by `register` before the stage is called from Python.
"""

from detaux.multitask.methods.base import Method, TaskSpec
from detaux.multitask.methods.hard_sharing import HardSharing
from detaux.multitask.methods.stl import SingleTask
from detaux.multitask.methods.uncertainty import UncertaintyWeighting

METHODS: dict[str, type[Method]] = {
    "stl": SingleTask,
    "hard_sharing": HardSharing,
    "uncertainty": UncertaintyWeighting,
}


def register(name: str, method: type[Method]) -> None:
    """Add a method under a name; raises ValueError if another one has it."""
    if METHODS.setdefault(name, method) is not method:
        raise ValueError(f"a method called {name!r} is registered already")


def build_method(name: str, spec: TaskSpec) -> Method:
    """Build the method `name` for a specification, its weights drawn from torch's global generator."""
    return METHODS[name](spec)
