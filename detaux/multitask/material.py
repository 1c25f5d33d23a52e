"""Load the training data that all trials share, and build each trial's data from it."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from detaux.config import Config
from detaux.config.schema import MultitaskConfig
from detaux.config.variants import DISCOVERED, Variant, list_variants
from detaux.data.labels_file import list_labels
from detaux.data.recombined import RecombinedImages
from detaux.data.schema import Manifest, read_manifest
from detaux.data.split import Split, load_split
from detaux.errors import UserError
from detaux.multitask.batches import TrainingData
from detaux.multitask.controls import Sources, build_control, find_control
from detaux.multitask.images.augmentation import NO_AUGMENTATION, Augmentation, read_augmentation
from detaux.multitask.labels import load_labels
from detaux.multitask.trial import NO_LABELS, ORACLE, Trial
from detaux.recombine.pool import recombine_images
from detaux.runtime.collectives import compute_on_first
from detaux.runtime.device import select_device
from detaux.runtime.record import hash_inputs
from detaux.stages import DECODER, MANIFEST


@dataclass(frozen=True)
class Material:
    """Hold the training split, its discovered labels [N], and the number of principal classes.

    `noise` is the fraction of noisy pixels. `oracle` are labels [N] from a ground-truth factor, or None if no control
    asks for them. `variants` are the labels [N] of other discoveries by their names, without those that found no task.
    `recombined` images are None if `multitask.recombine` is 0.
    """

    split: Split
    labels: Tensor
    classes: int
    noise: float
    augmentation: Augmentation = NO_AUGMENTATION
    oracle: Tensor | None = None
    variants: dict[str, Tensor] = field(default_factory=dict)
    recombined: RecombinedImages | None = None

    @property
    def auxiliary_classes(self) -> int:
        return int(self.labels.max()) + 1

    @property
    def found(self) -> dict[str, Tensor]:
        """Return the labels [N] of all discoveries by their names."""
        return {DISCOVERED: self.labels, **self.variants}

    @property
    def sources(self) -> Sources:
        """Return what the labels of controls are made from."""
        oracle = None if self.oracle is None else self.oracle.cpu().numpy()
        return Sources(self.labels.numpy(), self.split.labels.cpu().numpy(), self.classes, oracle)

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
        if trial.labels in self.found:
            return [self.classes, int(self.found[trial.labels].max()) + 1]
        return [self.classes, find_control(trial.labels).count_classes(self.sources)]

    def build_data(self, trial: Trial) -> TrainingData:
        """Build a trial's training data. The trial's seed draws the labels of a control."""
        split, auxiliary = self.split, None
        if trial.labels in self.found:
            auxiliary = self.found[trial.labels]
        elif trial.labels != NO_LABELS:
            auxiliary = build_control(trial.labels, self.sources, trial.seed)
        if auxiliary is not None:
            auxiliary = auxiliary.to(split.images.device)
        classes = self.count_classes(trial)
        return TrainingData(
            split.images, split.labels, auxiliary, classes, self.noise, self.augmentation, self.recombined
        )


def load_material(config: Config, shards: Path, labels_path: Path, disentangle: Path) -> Material:
    """Load the training data of all trials. The disentangler in a folder recombines images, if the config asks for it.

    Raises UserError if the labels do not belong to the shards, or if no training image has a principal label.
    """
    split = load_split(shards, "train", config.data, select_device(config.run))
    if not (split.labels >= 0).any():
        raise UserError(
            f"{shards}: no image of the training split has a principal label; multi-task training needs some."
        )
    manifest, settings = read_manifest(shards), config.multitask
    oracle = _read_oracle(settings, split, manifest, shards) if ORACLE in settings.controls else None
    labels, augmentation = load_labels(labels_path, split.keys), read_augmentation(settings)
    paths = list_labels(labels_path, config)
    variants = {
        one.labels: load_labels(paths[one.input], split.keys) for one in list_variants(settings) if one.input in paths
    }
    classes = len(manifest.classes)
    recombined = recombine_images(disentangle, split, classes, config) if settings.recombine > 0 else None
    return Material(split, labels, classes, config.data.noise, augmentation, oracle, variants, recombined)


def _read_oracle(config: MultitaskConfig, split: Split, manifest: Manifest, shards: Path) -> Tensor:
    """Return the values [N] of the factor `multitask.oracle` in the training split, numbered from 0."""
    names = list(manifest.factors)
    if split.factors is None or config.oracle not in names:
        raise UserError(
            f"multitask.oracle={config.oracle} is no factor of {shards}; its known factors: {', '.join(names) or 'none'}."
        )
    values, labels = torch.unique(split.factors[:, names.index(config.oracle)], return_inverse=True)
    if len(values) < 2:
        raise UserError(
            f"multitask.oracle={config.oracle} has a single value in the training split of {shards}; give a factor with two."
        )
    return labels


def hash_material(config: Config, shards: Path, labels_path: Path, disentangle: Path) -> dict[str, str]:
    """Return the hashes of the stage's input files, the same on all ranks."""
    files = {MANIFEST.name: shards / MANIFEST.file, **list_labels(labels_path, config)}
    if config.multitask.recombine > 0:
        files[DECODER.name] = disentangle / DECODER.file
    return compute_on_first(lambda: hash_inputs(files))
