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


def test_table_configs_of_a_data_set_are_one_run_whose_report_shows_all_its_tables():
    """So no command makes the report again without the tables that another one showed."""
    paths = sorted((ROOT / "configs" / "tables").glob("table?-*.yaml"))
    for path in paths:
        name = path.stem.partition("-")[2]
        config = load_config(path)
        assert config == load_config(path.with_name(f"table1-{name}.yaml"))
        assert config.report.published == sorted({cell.table for cell in CELLS if cell.dataset == name})
        assert config.data.source == name
        assert config.multitask.controls == []


def test_every_file_of_the_tables_is_a_command_of_a_table_or_says_that_it_is_none():
    for path in (ROOT / "configs" / "tables").glob("*.yaml"):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert path.stem.startswith(("table1-", "table2-", "table3-")) or "not to be run" in first


def test_every_data_set_of_the_papers_tables_has_its_config():
    """The paper's cells and the configs name the same tables and data sets."""
    found = {tuple(path.stem.split("-")) for path in (ROOT / "configs" / "tables").glob("table?-*.yaml")}
    assert found == {(cell.table, cell.dataset) for cell in CELLS}
