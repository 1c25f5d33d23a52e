"""Load the training data that all trials share, and build each trial's data from it."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from detaux.config import Config
from detaux.data.schema import read_manifest
from detaux.data.split import Split, load_split
from detaux.multitask.batches import TrainingData
from detaux.multitask.controls import ROTATION, build_control
from detaux.multitask.images.augmentation import NO_AUGMENTATION, Augmentation, read_augmentation
from detaux.multitask.labels import load_labels
from detaux.multitask.trial import DISCOVERED, NO_LABELS, Trial
from detaux.runtime.collectives import compute_on_first
from detaux.runtime.device import select_device
from detaux.runtime.record import hash_inputs
from detaux.stages import LABELS, MANIFEST

TURNS = 4  # classes of the rotation control


@dataclass(frozen=True)
class Material:
    """Hold the training split, its discovered labels [N], and the number of principal classes.

    `noise` is the fraction of noisy pixels.
    """

    split: Split
    labels: Tensor
    classes: int
    noise: float
    augmentation: Augmentation = NO_AUGMENTATION

    @property
    def auxiliary_classes(self) -> int:
        return int(self.labels.max()) + 1

    def count_classes(self, trial: Trial) -> list[int]:
        """Return the number of classes of each task of a trial, the principal one first."""
        if trial.labels == NO_LABELS:
            return [self.classes]
        return [self.classes, TURNS if trial.labels == ROTATION else self.auxiliary_classes]

    def build_data(self, trial: Trial) -> TrainingData:
        """Build a trial's training data. The trial's seed draws the labels of a control."""
        split, auxiliary = self.split, None
        if trial.labels not in (NO_LABELS, ROTATION):
            auxiliary = self.labels
            if trial.labels != DISCOVERED:
                auxiliary = build_control(trial.labels, self.labels, split.labels.cpu(), trial.seed)
            auxiliary = auxiliary.to(split.images.device)
        classes = self.count_classes(trial)
        return TrainingData(split.images, split.labels, auxiliary, classes, self.noise, self.augmentation)


def load_material(config: Config, shards: Path, labels_path: Path) -> Material:
    """Load the training data of all trials. Raises UserError if the labels do not belong to the shards."""
    split = load_split(shards, "train", config.data, select_device(config.run))
    classes = len(read_manifest(shards).classes)
    labels, augmentation = load_labels(labels_path, split.keys), read_augmentation(config.multitask)
    return Material(split, labels, classes, config.data.noise, augmentation)


def hash_material(shards: Path, labels_path: Path) -> dict[str, str]:
    """Return the hashes of the stage's input files, the same on all ranks."""
    inputs = {MANIFEST.name: shards / MANIFEST.file, LABELS.name: labels_path}
    return compute_on_first(lambda: hash_inputs(inputs))
