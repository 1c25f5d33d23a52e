import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from detaux.config import load_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/design.md", "docs/cluster.md")

BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.S))
COMMANDS = [line.partition("#")[0].strip() for line in BLOCKS.splitlines() if line.strip()]
DETAUX = [command for command in COMMANDS if command.startswith("detaux ")]
MAP = re.findall(r"^\| `([^`]+)` \|", README.partition("## File map")[2], re.M)


def list_folders():
    """Top-level files and folders, and the package folders below, as the map writes them."""
    ignored = {line.strip("/\n") for line in (ROOT / ".gitignore").read_text().splitlines()}
    hidden = {".git", ".gitignore", ".dockerignore", "README.md", "shared"}
    for path in ROOT.iterdir():
        if path.name in hidden | ignored or any(path.match(pattern) for pattern in ignored):
            continue
        yield f"{path.name}/" if path.is_dir() else path.name
        if path.name in ("detaux", "shards", "configs"):
            for inner in path.rglob("*"):
                if inner.is_dir() and inner.name != "__pycache__":
                    yield f"{inner.relative_to(ROOT)}/"


def test_file_map_names_only_what_exists():
    assert len(MAP) == len(set(MAP)) > 20
    for name in MAP:
        path = ROOT / name
        assert path.is_dir() if name.endswith("/") else path.is_file(), name


def test_file_map_names_every_folder_and_top_level_file():
    assert sorted(set(list_folders()) - set(MAP) - {"detaux/"}) == []


def test_readme_shows_five_commands_first():
    assert len(re.findall(r"```sh\n(.*?)```", README, re.S)[0].strip().splitlines()) == 5
    assert len(DETAUX) >= 10


@pytest.mark.parametrize("command", DETAUX)
def test_readme_command_parses_with_its_config(command, parse, monkeypatch):
    monkeypatch.chdir(ROOT)
    parse(shlex.split(command)[1:])


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_readme_make_target_exists(command):
    assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.M)


LAUNCH = r'(?:[A-Z]+=(?:"[^"]*"|\S+) )*(?:sbatch |python )?(?:--\S+ \S+ )*(launch/\S+) (?:--\S+ \d+ )?(\S+)(.*)'


@pytest.mark.parametrize("command", [command for command in COMMANDS if "launch/" in command])
def test_readme_launch_command_names_a_script_and_a_config(command):
    script, config, overrides = re.fullmatch(LAUNCH, command).groups()
    assert (ROOT / script).is_file()
    assert script.endswith(".py") or os.access(ROOT / script, os.X_OK)
    load_config(ROOT / config, shlex.split(overrides.replace("{task}", "0")))


def test_readme_commands_are_of_known_kinds():
    assert all(command.startswith(("detaux ", "make ")) or "launch/" in command for command in COMMANDS)


@pytest.mark.parametrize("option", ["--help", "doctor", "run --help"])
def test_readme_looking_commands_run(option):
    result = subprocess.run(
        [sys.executable, "-m", "detaux", *option.split()], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", GUIDES)
def test_links_between_documents_lead_somewhere(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (path.parent / target).is_file(), target


@pytest.mark.parametrize("name", GUIDES)
def test_keys_in_documents_are_keys(name):
    known = "\n".join(f"{key}=" for key in _list_keys())
    sections = {key.split(".")[0] for key in _list_keys()}
    for key in re.findall(r"`(\w+(?:\.\w+)+)[=`]", (ROOT / name).read_text(encoding="utf-8")):
        if key.split(".")[0] in sections and not key.endswith((".py", ".yaml", ".json", ".html")) and key.islower():
            assert f"{key}=" in known, key


def _list_keys():
    from detaux.config.load import iterate_fields

    return [dotted for dotted, _, _ in iterate_fields()]
