"""Train on given labels by a learned combination of the task losses (AuxiLearn, combining mode)."""

from torch import Tensor

from detaux.multitask.batches import Stream, TrainingData
from detaux.multitask.methods.base import TaskSpec
from detaux.multitask.methods.learned_loss import LearnedLoss
from detaux.multitask.networks.hard_sharing import HardSharingNetwork


class AuxiLearnCombine(LearnedLoss):
    """Learn how the losses on given auxiliary labels, times their weight, join the principal loss.

    The losses are cross-entropies. An image without a principal label enters with a principal loss of 0. Width and
    start of the nonlinear combination are those of the authors' script for given labels (NYUv2).
    """

    widest_start = 1.0

    def __init__(self, spec: TaskSpec) -> None:
        network = HardSharingNetwork(spec.config, spec.side, spec.classes)
        super().__init__(spec, network, len(spec.classes), spec.weight, focal_gamma=0)

    def list_hidden(self) -> list[int]:
        return self.settings.combine_hidden

    def list_training_streams(self, data: TrainingData, is_training: Tensor) -> list[Stream]:
        """Return a stream of labelled images for all tasks, and one of images without a principal label for the rest.

        Turned images need a stream of their own, because no other label holds for them.
        """
        rest = tuple(range(1, len(data.classes)))
        labelled = data.labelled[is_training[data.labelled]]
        unlabelled = data.everything[data.principal.cpu() < 0]
        is_everywhere = self.spec.config.auxiliary_on == "all"
        if not rest:
            return [Stream((0,), labelled)]
        if data.auxiliary is None:
            everything = data.everything[is_training] if is_everywhere else labelled
            return [Stream((0,), labelled), *(Stream((task,), everything) for task in rest)]
        streams = [Stream((0, *rest), labelled)]
        if is_everywhere and len(unlabelled):
            streams.append(Stream(rest, unlabelled))
        return streams
