"""List the methods by their name in `multitask.methods`, which is also the name of their file.

To add a method in a file of your own, call `register` before you call the stage from Python.
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
    """Add a method under a name. Raises ValueError if another method has that name."""
    if METHODS.setdefault(name, method) is not method:
        raise ValueError(f"a method called {name!r} is registered already")


def build_method(name: str, spec: TaskSpec) -> Method:
    """Build the method `name` for a specification. Torch's global generator draws its weights."""
    return METHODS[name](spec)
