"""Names that a config takes, against the files that have them."""

import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

from detaux.config.schema import DataConfig
from detaux.data.partners.registry import PARTNER_RULES

ROOT = Path(__file__).parents[2]


def list_modules(folder):
    return {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}


def test_data_sources_are_the_files_of_data_sets():
    assert set(get_args(get_type_hints(DataConfig)["source"])) == list_modules("shards/datasets")


def test_every_pair_rule_is_in_the_contract_that_keeps_rules_apart():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one["name"].startswith("pairs:"))
    (siblings,) = (layer.split(" | ") for layer in layers if ".partners.mined" in layer)
    assert set(siblings) == {f"detaux.data.partners.{name}" for name in PARTNER_RULES}
