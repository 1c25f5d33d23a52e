"""Write the frozen config into a stage's folder, whole, so that it loads again to an equal config."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml

from detaux.config.config_files import read_config_file
from detaux.config.load import escape_text, map_text
from detaux.config.read_yaml import take_values
from detaux.config.schema import Config
from detaux.errors import UserError


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return the config as plain nested dicts, in the order of the dataclasses."""
    return dataclasses.asdict(config)


def format_config(config: Config) -> str:
    """Return the config as YAML that loads again to an equal config."""
    return yaml.safe_dump(escape_text(config_to_dict(config)), sort_keys=False, allow_unicode=True)


def dump_config(config: Config, path: Path) -> None:
    """Write the frozen config to a file that loads again to an equal config."""
    path.write_text(format_config(config), encoding="utf-8")


def read_config_tree(path: Path) -> dict[str, Any]:
    """Read the sections of a file that dump_config wrote, without checks, so that it may be from another release.

    Raises UserError if the file is damaged.
    """
    tree = take_values(read_config_file(path))
    if not all(isinstance(section, dict) for section in tree.values()):
        raise UserError(f"config file {path} is damaged: it is no mapping of sections.")
    return map_text(tree, lambda text: re.sub(r"(\\*)\\\$\{", lambda part: part[1][::2] + "${", text))
