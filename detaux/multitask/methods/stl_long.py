"""Train only the principal task, for longer: what the steps of a costly method would buy single-task learning."""

from detaux.multitask.methods.base import TaskSpec
from detaux.multitask.methods.stl import SingleTask


class LongSingleTask(SingleTask):
    """Train as STL does, for `multitask.stl_long.factor` times as many passes over the labelled images."""

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        self.epochs_factor = spec.config.stl_long.factor
