"""Declare the multi-task methods: their names, and the keys that only one method reads."""

from dataclasses import dataclass
from typing import Literal

from detaux.config.key import key

# these train all tasks together, by fixed weights or by a rule for the task losses
JOINT_METHODS = ("hard_sharing", "nddr", "mti")
RULES = (
    *("uncertainty", "dwa", "gradnorm"),  # make one loss of the task losses
    *("pcgrad", "cagrad", "nash_mtl", "upgrad", "mgda", "aligned_mtl"),  # make one gradient of the tasks' gradients
)
BILEVEL_METHODS = ("maxl", "auxilearn", "auxilearn_combine")  # these learn a part of their own loss
UNWEIGHTED_METHODS = ("stl", "stl_long", "balanced", "maxl", "auxilearn")  # without a second loss with its own weight
PLAIN_METHODS = ("stl", "stl_long", "balanced", *JOINT_METHODS, *BILEVEL_METHODS)
METHODS = (*PLAIN_METHODS, *(f"{method}+{rule}" for method in JOINT_METHODS for rule in RULES))
SHOWN_METHODS = f"{'|'.join(PLAIN_METHODS)}, or {'|'.join(JOINT_METHODS)} followed by + and {'|'.join(RULES)}"


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
class MtiConfig:
    backbone: Literal["hrnet_w18", "hrnet_w18_small_v2"] = key(
        "hrnet_w18_small_v2",
        "feature extractor of mti, which needs the extra timm; to compare, give multitask.backbone the same for stl. "
        "MTI-Net's official code loads hrnet_w18_small_v2; the paper names no size",
    )
    pretrained: str | None = key(
        None,
        "file of the weights of multitask.mti.backbone, as multitask.pretrained; to compare, give it to stl too",
        names_file=True,
    )
    refine: bool = key(True, "refine the maps of each task and scale by two residual blocks")
    propagation: Literal["paper", "official", "none"] = key(
        "paper",
        "pass maps of all tasks on to the next finer scale, with a mask over tasks; official: over adjacent channels of one "
        "task, as the released code does",
    )
    distillation: bool = key(True, "add to the maps of each task, at each scale, what the other tasks' maps say")
    deep_supervision: float = key(1.0, "weight of the loss of the initial prediction at each scale; 0: none", 0.0)
    head: Literal["aggregate", "pooled"] = key(
        "aggregate",
        "mix the maps of all scales at the finest, or classify their means by the head of the other methods",
    )
    loss: Literal["pooled", "pixel"] = key(
        "pooled", "cross-entropy of logits averaged over positions, or its mean over positions"
    )


@dataclass(frozen=True)
class NddrConfig:
    alpha: float = key(
        0.9, "start weight of a branch's own features in its fusion layers; the other branches share the rest", 0.0, 1.0
    )
    lr_factor: float = key(1.0, "learning rate of the fusion layers, as a multiple of multitask.lr", 0.0)
    optimizer: Literal["adamw", "sgd"] = key(
        "adamw", "optimiser of nddr; sgd has momentum 0.9, as the authors' code does, who also take lr_factor=100"
    )


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
    hidden: list[int] = key(
        [10, 10], "hidden units of each layer of the nonlinear combination, if labels are generated", 1
    )
    combine_hidden: list[int] = key([3], "the same of auxilearn_combine", 1)
    slots: int = key(5, "classes that the label generator divides each principal class into", 1)
    generated_weight: float = key(0.25, "factor of the loss on generated labels", 0.0)
    focal_gamma: int = key(2, "exponent of the focal loss if labels are generated; 0: cross-entropy", 0, 5)
    held_out: float = key(
        0.05, "fraction of each class's labelled images that train only the loss; at least one image of each", 0.0, 0.9
    )
    every: int = key(30, "steps of the network for each step of the loss", 1)
    neumann_terms: int = key(3, "terms of the inverse Hessian's Neumann series after the first", 0)
    neumann_lr: float = key(1e-3, "step size of the Neumann series", 1e-12)
    neumann_scale: Literal["exact", "released"] = key(
        "exact", "multiply the series by its step size, or leave that out as the released code does"
    )
    optimizer: Literal["adamw", "sgd"] = key("adamw", "optimiser of the loss; sgd has momentum 0.9")
    clip: float = key(50.0, "largest norm of the gradient of the loss's parameters; 0 clips nothing", 0.0)
    lr_factor: float = key(1.0, "learning rate of the loss's parameters, as a multiple of multitask.lr", 0.0)
    weight_decay: float = key(5e-3, "weight decay of the loss's parameters", 0.0)
