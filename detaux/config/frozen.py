"""The frozen config beside an artefact: written whole, and read back to an equal one."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml

from detaux.config.load import escape_text, map_text, read_config_file
from detaux.config.read_yaml import take_values
from detaux.config.schema import Config
from detaux.errors import UserError


def config_to_dict(config: Config) -> dict[str, Any]:
    """The config as plain nested dicts, in the order of the dataclasses."""
    return dataclasses.asdict(config)


def format_config(config: Config) -> str:
    """The config as YAML that loads again to an equal one."""
    return yaml.safe_dump(escape_text(config_to_dict(config)), sort_keys=False, allow_unicode=True)


def dump_config(config: Config, path: Path) -> None:
    """Write the frozen config beside an artefact; the file loads again to an equal config."""
    path.write_text(format_config(config), encoding="utf-8")


def read_config_tree(path: Path) -> dict[str, Any]:
    """The sections of a file that dump_config wrote, unchecked, so that one of another release can be read.

    Raises UserError when it is damaged.
    """
    tree = take_values(read_config_file(path))
    if not all(isinstance(section, dict) for section in tree.values()):
        raise UserError(f"config file {path} is damaged: it is no mapping of sections.")
    return map_text(tree, lambda text: re.sub(r"(\\*)\\\$\{", lambda part: part[1][::2] + "${", text))
