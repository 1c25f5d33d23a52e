"""Hold the typed configuration: its dataclasses, and the loader that checks what a user wrote."""

from detaux.config.frozen import dump_config
from detaux.config.influence import list_neutral, reads
from detaux.config.load import load_config
from detaux.config.schema import Config

__all__ = ["Config", "dump_config", "list_neutral", "load_config", "reads"]
