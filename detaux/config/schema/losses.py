"""Declare the keys of the disentangling losses: forms, weights, the oracle and the warm-up curves."""

from dataclasses import dataclass, field
from typing import Literal

from detaux.config.key import key


@dataclass(frozen=True)
class WeightsConfig:
    reconstruction: float = key(1.0, "weight of Eq. (5)", 0.0)
    distance: float = key(1.0, "weight of Eq. (7)", 0.0)
    sparsity: float = key(1.0, "weight of Eq. (8)", 0.0)
    consistency: float = key(1.0, "weight of Eq. (9)", 0.0)
    regularization: float = key(1.0, "weight of Eq. (10)", 0.0)
    divergence: float = key(
        0.02,
        "model.conditional: squared error, summed over an image, that one nat of the code costs (Kingma and Welling: twice "
        "the variance of a pixel)",
        0.0,
    )


@dataclass(frozen=True)
class ReconstructionConfig:
    form: Literal["sum", "mean"] = key("mean", "squared error summed over an image (paper) or averaged (official)")


@dataclass(frozen=True)
class DistanceConfig:
    form: Literal["paper", "official"] = key("paper", "Eq. (7), or the official code's hinge on squared distances")
    margin: float = key(1.0, "margin m of Eq. (7)", 0.0)


@dataclass(frozen=True)
class SparsityConfig:
    form: Literal["paper", "official"] = key(
        "paper", "Eq. (8): L1 norm summed over K and D, or averaged over D (official code)"
    )


@dataclass(frozen=True)
class ConsistencyConfig:
    form: Literal["paper", "official"] = key("official", "Eq. (9) on projector i only, or on all projectors (official)")
    mixes: float = key(1.0, "mixed codes per pair, drawn from the K possible; 0 takes all K", 0.0, 256.0)


@dataclass(frozen=True)
class RegularizationConfig:
    form: Literal["paper", "official"] = key("paper", "Eq. (10) with its gradient, or detached (official: no gradient)")
    sharpness: float = key(5.0, "softmax sharpness (1 / temperature) of the soft usage that carries the gradient", 0.01)


@dataclass(frozen=True)
class OracleConfig:
    normalizer: Literal["mean_norm", "mean_distance", "rms_distance"] = key(
        "mean_distance", "what a subspace's distance is divided by: mean vector length (paper) or mean pair distance"
    )
    form: Literal["distance", "squared"] = key("distance", "Euclidean distance (paper) or its square (official)")
    sharpness: float = key(0.0, "softmax sharpness (1 / temperature); 0 is a hard arg max", 0.0)


@dataclass(frozen=True)
class BetaConfig:
    """Hold one warm-up curve min(exp(rate (t - middle)), 1) over training progress t in [0, 1]."""

    rate: float = key(25.0, "growth rate of the curve", 0.0)
    middle: float = key(0.4, "progress at which the curve reaches 1", 0.0, 1.0)
    shape: Literal["rise", "fall", "constant"] = key("rise", "the curve, one minus the curve, or always 1")


@dataclass(frozen=True)
class ScheduleConfig:
    warmup_fraction: float = key(0.25, "progress t at which the main phase begins", 0.0, 1.0)
    beta1: BetaConfig = field(default_factory=BetaConfig, metadata={"meaning": "distance and sparsity"})
    beta2: BetaConfig = field(default_factory=lambda: BetaConfig(middle=0.5), metadata={"meaning": "consistency"})
    beta3: BetaConfig = field(default_factory=lambda: BetaConfig(shape="fall"), metadata={"meaning": "regularization"})


@dataclass(frozen=True)
class LossesConfig:
    backend: Literal["auto", "reference", "triton"] = key(
        "auto",
        "code that computes the terms on pairs. reference: plain torch; triton: fused GPU kernels; auto: triton on GPUs "
        "that have it, else reference",
        neutral=True,
    )
    weights: WeightsConfig = field(default_factory=WeightsConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    distance: DistanceConfig = field(default_factory=DistanceConfig)
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    regularization: RegularizationConfig = field(default_factory=RegularizationConfig)
    oracle: OracleConfig = field(default_factory=OracleConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
