"""Typed configuration: the dataclasses, and the loader that checks what a user wrote."""

from detaux.config.frozen import dump_config
from detaux.config.load import load_config
from detaux.config.schema import Config
from detaux.config.stages import STAGE_SECTIONS, STAGES, list_neutral, reads

__all__ = ["STAGES", "STAGE_SECTIONS", "Config", "dump_config", "list_neutral", "load_config", "reads"]
