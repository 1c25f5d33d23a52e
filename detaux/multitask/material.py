"""Load the training data that all trials share, and build each trial's data from it."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from detaux.config import Config
from detaux.config.variants import DISCOVERED, Variant, list_variants
from detaux.data.labels_file import list_labels
from detaux.data.schema import read_manifest
from detaux.data.split import Split, load_split
from detaux.multitask.batches import TrainingData
from detaux.multitask.controls import ROTATION, build_control
from detaux.multitask.labels import load_labels
from detaux.multitask.trial import NO_LABELS, Trial
from detaux.runtime.collectives import compute_on_first
from detaux.runtime.device import select_device
from detaux.runtime.record import hash_inputs
from detaux.stages import MANIFEST

TURNS = 4  # classes of the rotation control


@dataclass(frozen=True)
class Material:
    """Hold the training split, its discovered labels [N], and the number of principal classes.

    `variants` are the labels [N] of other discoveries by their names, without those that found no task. `noise` is the
    fraction of noisy pixels. Images move at random by up to `crop` pixels, and flip at random if `flip`.
    """

    split: Split
    labels: Tensor
    classes: int
    noise: float
    crop: int = 0
    flip: bool = False
    variants: dict[str, Tensor] = field(default_factory=dict)

    @property
    def auxiliary_classes(self) -> int:
        return int(self.labels.max()) + 1

    def list_missing(self, config: Config) -> list[Variant]:
        """Return the variants of discovery that found no task."""
        return [one for one in list_variants(config.multitask) if one.labels not in self.variants]

    def count_labels(self, variant: Variant) -> int | None:
        """Return the number of classes that a variant of discovery found, or None if it found no task."""
        found = self.variants.get(variant.labels)
        return None if found is None else int(found.max()) + 1

    def count_classes(self, trial: Trial) -> list[int]:
        """Return the number of classes of each task of a trial, the principal one first."""
        if trial.labels == NO_LABELS:
            return [self.classes]
        found = self.variants.get(trial.labels, self.labels)
        return [self.classes, TURNS if trial.labels == ROTATION else int(found.max()) + 1]

    def build_data(self, trial: Trial) -> TrainingData:
        """Build a trial's training data. The trial's seed draws the labels of a control."""
        split, auxiliary = self.split, None
        if trial.labels not in (NO_LABELS, ROTATION):
            auxiliary = self.variants.get(trial.labels, self.labels)
            if trial.labels not in (DISCOVERED, *self.variants):
                auxiliary = build_control(trial.labels, self.labels, split.labels.cpu(), trial.seed)
            auxiliary = auxiliary.to(split.images.device)
        classes = self.count_classes(trial)
        return TrainingData(split.images, split.labels, auxiliary, classes, self.noise, self.crop, self.flip)


def load_material(config: Config, shards: Path, labels_path: Path) -> Material:
    """Load the training data of all trials. Raises UserError if the labels do not belong to the shards."""
    split = load_split(shards, "train", config.data, select_device(config.run))
    classes = len(read_manifest(shards).classes)
    noise, settings = config.data.noise, config.multitask
    paths = list_labels(labels_path, config)
    variants = {
        one.labels: load_labels(paths[one.input], split.keys) for one in list_variants(settings) if one.input in paths
    }
    labels = load_labels(labels_path, split.keys)
    return Material(split, labels, classes, noise, settings.crop, settings.flip, variants)


def hash_material(config: Config, shards: Path, labels_path: Path) -> dict[str, str]:
    """Return the hashes of the stage's input files, the same on all ranks."""
    return compute_on_first(
        lambda: hash_inputs({MANIFEST.name: shards / MANIFEST.file, **list_labels(labels_path, config)})
    )
