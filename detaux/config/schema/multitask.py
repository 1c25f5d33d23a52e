"""Declare the keys of multi-task training: the backbone, the methods, the controls and the training."""

from dataclasses import dataclass
from typing import Literal

from detaux.config.key import key

VGG_MIN_SIDE = 32  # pixels: VGG16 halves five times


@dataclass(frozen=True)
class MultitaskConfig:
    backbone: Literal["small_cnn", "vgg16", "vgg16_bn", "resnet18"] = key("small_cnn", "shared feature extractor")
    methods: list[str] = key(["stl", "hard_sharing"], "methods to run", choices=("stl", "hard_sharing", "uncertainty"))
    weights: list[float] = key([0.2, 1.0], "auxiliary weights tried; 0 (STL) is always a candidate", 0.0)
    controls: list[str] = key(
        ["random", "within_class"],
        "label controls run beside ours",
        choices=("random", "permuted", "within_class", "rotation"),
    )
    auxiliary_on: Literal["all", "labelled"] = key("all", "images that carry the auxiliary loss")
    seeds: int = key(3, "training seeds", 1, 100)
    select: Literal["validation", "fixed"] = key(
        "validation", "choose STL or an auxiliary weight by validation accuracy, or report the first weight"
    )
    epochs: int = key(15, "passes over the labelled training images", 1)
    least_steps: int = key(0, "more passes, where there are few labelled images, until there are this many steps", 0)
    batch_size: int = key(32, "labelled images a step", 1)
    lr: float = key(1e-3, "peak learning rate", 0.0)
    weight_decay: float = key(5e-3, "weight decay", 0.0)
    decay: Literal["none", "cosine"] = key("cosine", "learning-rate schedule")
    dropout: float = key(0.1, "dropout of each head", 0.0, 0.99)
    head_hidden: int = key(512, "hidden units of each head", 1)
    pretrained: str | None = key(None, "safetensors file with backbone weights")
