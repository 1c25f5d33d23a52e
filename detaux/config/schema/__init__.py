"""Declare every key that a user can set, as frozen dataclasses, with one file for each section of the YAML.

A field's metadata holds the line that ``detaux STAGE --help`` prints and, for numbers, the allowed closed range. The
range of a list or a mapping applies to each element. `neutral` marks a key that changes where or how fast a run works,
and never its numbers. Nothing here imports torch, or anything of detaux outside detaux/config/.
"""

from dataclasses import dataclass, field

from detaux.config.schema.cross_prediction import CrossPredictionConfig
from detaux.config.schema.data import DataConfig, GlyphsConfig, PaintConfig
from detaux.config.schema.discover import FROZEN, DiscoverConfig
from detaux.config.schema.disentangle import DisentangleConfig, PhaseConfig
from detaux.config.schema.engine import EngineConfig
from detaux.config.schema.losses import (
    BetaConfig,
    ConsistencyConfig,
    DistanceConfig,
    LossesConfig,
    OracleConfig,
    ReconstructionConfig,
    RegularizationConfig,
    ScheduleConfig,
    SparsityConfig,
    WeightsConfig,
)
from detaux.config.schema.methods import (
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
from detaux.config.schema.model import ModelConfig
from detaux.config.schema.multitask import PACKAGE, VGG_MIN_SIDE, WEIGHT_PACKAGES, MultitaskConfig
from detaux.config.schema.pairs import PairsConfig
from detaux.config.schema.report import ReportConfig
from detaux.config.schema.run import RunConfig
from detaux.config.schema.sweep import SweepConfig
from detaux.config.schema.track import TrackConfig

__all__ = [
    "FROZEN",
    "PACKAGE",
    "VGG_MIN_SIDE",
    "WEIGHT_PACKAGES",
    "AuxilearnConfig",
    "BetaConfig",
    "CAGradConfig",
    "Config",
    "ConsistencyConfig",
    "CrossPredictionConfig",
    "DWAConfig",
    "DataConfig",
    "DiscoverConfig",
    "DisentangleConfig",
    "DistanceConfig",
    "EngineConfig",
    "GlyphsConfig",
    "GradNormConfig",
    "LossesConfig",
    "MaxlConfig",
    "ModelConfig",
    "MtiConfig",
    "MultitaskConfig",
    "NashMTLConfig",
    "NddrConfig",
    "OracleConfig",
    "PaintConfig",
    "PairsConfig",
    "PhaseConfig",
    "ReconstructionConfig",
    "RegularizationConfig",
    "ReportConfig",
    "RunConfig",
    "ScheduleConfig",
    "SparsityConfig",
    "StlLongConfig",
    "SweepConfig",
    "TrackConfig",
    "UncertaintyConfig",
    "WeightsConfig",
]


@dataclass(frozen=True)
class Config:
    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    pairs: PairsConfig = field(default_factory=PairsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    losses: LossesConfig = field(default_factory=LossesConfig)
    disentangle: DisentangleConfig = field(default_factory=DisentangleConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    discover: DiscoverConfig = field(default_factory=DiscoverConfig)
    multitask: MultitaskConfig = field(default_factory=MultitaskConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)
