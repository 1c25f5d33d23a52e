"""Typed configuration: the dataclasses, and the loader that checks what a user wrote."""

from detaux.config.frozen import dump_config
from detaux.config.load import load_config
from detaux.config.schema import Config
from detaux.config.stages import NEUTRAL_KEYS, STAGE_SECTIONS, STAGES, reads

__all__ = ["NEUTRAL_KEYS", "STAGES", "STAGE_SECTIONS", "Config", "dump_config", "load_config", "reads"]
