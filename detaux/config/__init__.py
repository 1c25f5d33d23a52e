"""Typed configuration: the dataclasses, and the loader that checks what a user wrote."""

from detaux.config.load import dump_config, load_config
from detaux.config.schema import Config
from detaux.config.stages import NEUTRAL_KEYS, READ_BY, STAGE_SECTIONS, STAGES

__all__ = ["NEUTRAL_KEYS", "READ_BY", "STAGES", "STAGE_SECTIONS", "Config", "dump_config", "load_config"]
