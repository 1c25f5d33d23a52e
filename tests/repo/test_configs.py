import re
import shlex
from pathlib import Path

import pytest

from detaux.cli import run_command
from detaux.config import Config, dump_config, load_config
from detaux.report.published import CELLS

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").rglob("*.yaml"))
CONFIGS = [path for path in FILES if not path.name.startswith("_")]  # the others are only bases


def read_comments(path):
    """Return the comments of a config, line by line."""
    found = (re.search(r"(?:^| )# ?(.*)", line) for line in path.read_text(encoding="utf-8").splitlines())
    return [line[1] for line in found if line]


def find_commands(comments):
    """Return the detaux commands of comments: an indented line, or words between backticks."""
    blocks = [line.strip() for line in comments if line.startswith("  detaux ")]
    prose = " ".join(line for line in comments if not line.startswith("  detaux "))
    return blocks + re.findall(r"`(detaux [^`]*)`", prose)


COMMANDS = [(path, command) for path in FILES for command in find_commands(read_comments(path))]


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


def test_every_file_of_the_tables_is_a_command_of_a_table_or_only_a_base():
    for path in (ROOT / "configs" / "tables").glob("*.yaml"):
        assert path.stem.startswith(("table1-", "table2-", "table3-")) or path.name == "_rows.yaml"


def test_every_data_set_of_the_papers_tables_has_its_config():
    """The paper's cells and the configs name the same tables and data sets."""
    found = {tuple(path.stem.split("-")) for path in (ROOT / "configs" / "tables").glob("table?-*.yaml")}
    assert found == {(cell.table, cell.dataset) for cell in CELLS}


def test_rows_of_the_tables_cannot_be_run(monkeypatch, capsys, tmp_path):
    """They name no data set, so a run of them would build the default one, all 480,000 images of 3D Shapes.

    The wrong key keeps it from starting if the file is not refused; then the sentence is another one.
    """
    monkeypatch.chdir(tmp_path)
    assert run_command(["run", str(ROOT / "configs" / "tables" / "_rows.yaml"), "data.side=0"]) == 2
    output = capsys.readouterr()
    assert "_rows.yaml is only a base of other files" in output.err
    assert (output.out, len(output.err.splitlines()), list(tmp_path.iterdir())) == ("", 1, [])


def test_every_command_in_comments_is_found():
    for path in FILES:
        comments = read_comments(path)
        assert len(re.findall(r"\bdetaux ", " ".join(comments))) == len(find_commands(comments)), path
    assert len(COMMANDS) > 20


@pytest.mark.parametrize(("path", "command"), COMMANDS)
def test_command_in_comments_parses_with_its_config(path, command, parse, monkeypatch):
    monkeypatch.chdir(ROOT)
    parsed = parse(shlex.split(command)[1:])
    config = load_config(path)
    named = getattr(parsed, "config", None) or getattr(parsed, "source", None)
    assert (ROOT / named == path) if named else parsed.runs == [config.run.dir]
    if parsed.command == "shards":  # so that the next stage finds them
        assert Path(parsed.out) == Path(config.run.dir) / "shards"
