from dataclasses import replace
from pathlib import Path

import pytest

from detaux.config import Config, dump_config, load_config
from detaux.report.published import CELLS

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def test_presets_of_every_kind_are_there():
    names = {str(path.relative_to(ROOT / "configs")) for path in CONFIGS}
    assert {"quickstart.yaml", "digits.yaml"} <= names
    assert any(name.startswith("paper/") for name in names)
    assert any(name.startswith("official/") for name in names)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_loads_and_survives_a_round_trip(path, tmp_path):
    config = load_config(path)
    assert config != Config()
    dump_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_quickstart_uses_no_ground_truth():
    config = load_config(ROOT / "configs" / "quickstart.yaml")
    assert config.pairs.partner == "mined"


def test_quickstart_fits_your_own_pictures():
    config = load_config(ROOT / "configs" / "quickstart.yaml", ["data.source=folder", "data.path=photos"])
    assert config.data.principal == "class"


def test_table_configs_of_a_data_set_differ_only_in_the_table_that_they_show():
    """So the second command finds the run of the first, and only makes the report again."""
    for path in (ROOT / "configs" / "tables").glob("table[23]-*.yaml"):
        table, _, name = path.stem.partition("-")
        config, first = load_config(path), load_config(path.with_name(f"table1-{name}.yaml"))
        assert config.report.published == [table]
        assert replace(config, report=first.report) == first
        assert config.data.source == name


def test_every_data_set_of_the_papers_tables_has_its_config():
    """The paper's cells and the configs name the same tables and data sets."""
    found = {tuple(path.stem.split("-")) for path in (ROOT / "configs" / "tables").glob("table?-*.yaml")}
    assert found == {(cell.table, cell.dataset) for cell in CELLS}
