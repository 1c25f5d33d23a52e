"""Declare the keys of multi-task training: the backbone, the methods, the controls and the training."""

from dataclasses import dataclass, field
from typing import Literal

from detaux.config.key import key

VGG_MIN_SIDE = 32  # pixels: VGG16 halves five times
JOINT_METHODS = ("hard_sharing",)  # these train all tasks together, by fixed weights or by a rule for the task losses
RULES = (
    *("uncertainty", "dwa", "gradnorm"),  # make one loss of the task losses
    *("pcgrad", "cagrad", "nash_mtl", "upgrad", "mgda", "aligned_mtl"),  # make one gradient of the tasks' gradients
)
BILEVEL_METHODS = ("maxl", "auxilearn", "auxilearn_combine")  # these learn a part of their own loss
METHODS = (
    "stl",
    "stl_long",
    *JOINT_METHODS,
    *(f"{method}+{rule}" for method in JOINT_METHODS for rule in RULES),
    *BILEVEL_METHODS,
)


@dataclass(frozen=True)
class StlLongConfig:
    factor: float = key(2.0, "passes over the labelled images, as a multiple of those of other methods", 1.0)


@dataclass(frozen=True)
class UncertaintyConfig:
    init: float = key(0.0, "log variance s of each task at the start; its loss has weight exp(-s)", -6.0, 6.0)
    lr_factor: float = key(10.0, "learning rate of the log variances, as a multiple of multitask.lr", 0.0)


@dataclass(frozen=True)
class DWAConfig:
    temperature: float = key(2.0, "the higher it is, the more equal are the weights of the tasks", 0.01)


@dataclass(frozen=True)
class GradNormConfig:
    alpha: float = key(1.5, "how much more a task weighs whose loss falls slowly; 0: all gradients get one norm", 0.0)
    lr_factor: float = key(10.0, "learning rate of the weights of the tasks, as a multiple of multitask.lr", 0.0)


@dataclass(frozen=True)
class CAGradConfig:
    c: float = key(0.5, "radius of the search around the mean gradient, as a fraction of its norm; 0: the mean", 0.0)


@dataclass(frozen=True)
class NashMTLConfig:
    update_every: int = key(1, "steps between two solutions of the bargaining problem, which takes most of the time", 1)


@dataclass(frozen=True)
class MaxlConfig:
    slots: int = key(5, "classes that the label generator divides each principal class into", 1)
    gradient: Literal["exact", "first_order"] = key(
        "exact", "gradient of the label generator: exact, or by a finite difference without second derivatives"
    )
    focal_gamma: int = key(2, "exponent of the focal loss; 0: cross-entropy", 0, 5)
    entropy_weight: float = key(0.2, "weight of the term that makes use of all generated classes", 0.0)
    virtual_lr_factor: float = key(
        10.0, "step of gradient descent that the generator looks ahead, as a multiple of the present learning rate", 0.0
    )
    lr_factor: float = key(1.0, "learning rate of the label generator, as a multiple of multitask.lr", 0.0)
    weight_decay: float = key(5e-4, "weight decay of the label generator", 0.0)


@dataclass(frozen=True)
class AuxilearnConfig:
    combination: Literal["linear", "nonlinear"] = key("nonlinear", "function that makes one loss of the task losses")
    hidden: list[int] = key([10, 10], "hidden units of each layer of the nonlinear combination", 1)
    slots: int = key(5, "classes that the label generator divides each principal class into", 1)
    generated_weight: float = key(0.25, "factor of the loss on generated labels", 0.0)
    focal_gamma: int = key(2, "exponent of the focal loss if labels are generated; 0: cross-entropy", 0, 5)
    held_out: float = key(
        0.05, "fraction of each class's labelled images that train only the loss; at least one image of each", 0.0, 0.9
    )
    every: int = key(30, "steps of the network for each step of the loss", 1)
    neumann_terms: int = key(3, "terms of the inverse Hessian's Neumann series after the first", 0)
    neumann_lr: float = key(1e-3, "step size of the Neumann series", 0.0)
    neumann_scale: Literal["exact", "released"] = key(
        "exact", "multiply the series by its step size, or leave that out as the released code does"
    )
    optimizer: Literal["adamw", "sgd"] = key("adamw", "optimiser of the loss; sgd has momentum 0.9")
    clip: float = key(50.0, "largest norm of the gradient of the loss's parameters; 0 clips nothing", 0.0)
    lr_factor: float = key(1.0, "learning rate of the loss's parameters, as a multiple of multitask.lr", 0.0)
    weight_decay: float = key(5e-3, "weight decay of the loss's parameters", 0.0)


@dataclass(frozen=True)
class MultitaskConfig:
    backbone: Literal["small_cnn", "vgg16", "vgg16_bn", "resnet18"] = key("small_cnn", "shared feature extractor")
    methods: list[str] = key(
        ["stl", "hard_sharing"], "methods to run, each alone or as METHOD+RULE for the task losses", choices=METHODS
    )
    weights: list[float] = key([0.2, 1.0], "auxiliary weights tried; 0 (STL) is always a candidate", 0.0)
    controls: list[str] = key(
        ["random", "within_class"],
        "control labels, which should not help, trained on for comparison; oracle is an upper bound from ground truth",
        choices=("random", "permuted", "within_class", "rotation", "constant", "correlated", "oracle"),
    )
    control_methods: list[str] = key(
        ["hard_sharing"],
        "methods that train on the control labels, as in multitask.methods",
        choices=tuple(name for name in METHODS if not name.startswith("stl")),
    )
    correlated_nmi: list[float] = key(
        [0.1, 0.3, 0.6, 1.0],
        "copies of the class in the control correlated: their NMI with it (1: all equal)",
        0.0,
        1.0,
    )
    oracle: str | None = key(None, "ground-truth factor whose values are the labels of the control oracle")
    auxiliary_on: Literal["all", "labelled"] = key("all", "images that carry the auxiliary loss")
    seeds: int = key(3, "training seeds", 1, 100)
    select: Literal["validation", "fixed"] = key(
        "validation", "choose STL or an auxiliary weight by validation accuracy, or report the first weight"
    )
    epochs: int = key(15, "passes over the labelled training images", 1)
    least_steps: int = key(0, "fewest training steps; if labelled images are few, epochs grows to reach it", 0)
    batch_size: int = key(32, "labelled images a step", 1)
    lr: float = key(1e-3, "peak learning rate", 0.0)
    weight_decay: float = key(5e-3, "weight decay", 0.0)
    decay: Literal["none", "cosine"] = key("cosine", "learning-rate schedule")
    dropout: float = key(0.1, "dropout of each head", 0.0, 0.99)
    head_hidden: int = key(512, "hidden units of each head", 1)
    crop: int = key(
        0, "training images shift by up to this many pixels in each direction, filled with black; 0: no shift", 0, 64
    )
    flip: bool = key(False, "mirror each training image left to right with chance 1/2")
    colour: float = key(
        0.0,
        "brightness, contrast and saturation of training images change by up to this fraction; 0: they stay",
        0.0,
        1.0,
    )
    mixup: float = key(
        0.0,
        "training images and labels are mixed in pairs, with weights from Beta(mixup, mixup); 0: not mixed",
        0.0,
        16.0,
    )
    pretrained: str | None = key(
        None,
        "file (.pth, .safetensors) of the backbone's weights as torchvision or timm publish them; images are then normalised "
        "by ImageNet's mean and standard deviation, except for small_cnn",
    )
    stl_long: StlLongConfig = field(default_factory=StlLongConfig)
    uncertainty: UncertaintyConfig = field(default_factory=UncertaintyConfig)
    dwa: DWAConfig = field(default_factory=DWAConfig)
    gradnorm: GradNormConfig = field(default_factory=GradNormConfig)
    cagrad: CAGradConfig = field(default_factory=CAGradConfig)
    nash_mtl: NashMTLConfig = field(default_factory=NashMTLConfig)
    maxl: MaxlConfig = field(default_factory=MaxlConfig)
    auxilearn: AuxilearnConfig = field(default_factory=AuxilearnConfig)
