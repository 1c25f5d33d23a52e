"""Train only the principal task, on draws in which each class has as many images of every value of the labels.

With discovered labels, a classifier can lean less on what they found, where that follows the class in most images. With
true groups (the control `oracle`) it is the balanced baseline of Sagawa et al. (ICLR 2020), an upper bound.
"""

from dataclasses import replace

import torch
from torch import Tensor

from detaux.multitask.batches import Stream, TrainingData
from detaux.multitask.methods.base import TaskSpec
from detaux.multitask.methods.stl import SingleTask


class Balanced(SingleTask):
    """Train as STL does, but draw each group, a class with a value of the labels, as often as any other.

    The labels are no task: no head predicts them, and the weight of a trial means nothing.
    """

    reads_labels = True
    reads_weight = False
    separates_tasks = False
    predicts_labels = False

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(replace(spec, classes=spec.classes[:1]))

    def list_streams(self, data: TrainingData) -> list[Stream]:
        assert data.auxiliary is not None  # only turned images have no labels, and `separates_tasks` refuses them
        labels = torch.stack([data.principal[data.labelled], data.auxiliary[data.labelled]], 1).cpu()
        return [Stream((0,), data.labelled[repeat_to_balance(labels.unique(dim=0, return_inverse=True)[1])])]


def repeat_to_balance(groups: Tensor) -> Tensor:
    """Return places in `groups` [N] such that each group occurs as often as the largest one does.

    A smaller group is repeated whole, and then its first images once more, as many as are lacking.
    """
    members = [torch.nonzero(groups == group).squeeze(1) for group in groups.unique()]
    largest = max(len(one) for one in members)
    return torch.cat([one.repeat(-(-largest // len(one)))[:largest] for one in members])
