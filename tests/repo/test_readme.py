import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "docs/methods.md", "docs/sweeps.md", "docs/watching.md")  # whose commands are checked here
GUIDES = (*PAGES, "CONTRIBUTING.md", "CHANGELOG.md", "docs/design.md", "docs/cluster.md", "docs/results.md")
PROSE = [*GUIDES, "detaux/losses/README.md", "shards/README.md"]
PICTURE_BYTES = 300_000


def find_commands(page):
    """Return the commands in the shell blocks of a page, without their comments."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S))
    return [line.partition("#")[0].strip() for line in blocks.splitlines() if line.strip()]


COMMANDS = list(dict.fromkeys(command for page in PAGES for command in find_commands(page)))
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


def test_readme_begins_with_a_small_picture_three_commands_and_a_table():
    picture, commands, table = re.search(
        r"!\[[^\]]+\]\(([^)]+)\)\n\n\*[^\n]+\*\n\n```sh\n(.*?)```\s+((?:\|.*\n)+)", README.partition("\n## ")[0], re.S
    ).groups()
    assert (ROOT / picture).stat().st_size < PICTURE_BYTES
    assert len(commands.strip().splitlines()) == 3
    assert len(table.splitlines()) > 3


@pytest.mark.parametrize("page", PAGES)
def test_page_has_commands(page):
    assert len(find_commands(page)) >= 3


@pytest.mark.parametrize("name", PROSE)
def test_prose_of_documents_has_short_lines(name):
    prose = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.S)
    assert [line for line in prose.splitlines() if len(line) > 120 and not line.startswith("|")] == []


@pytest.mark.parametrize("command", DETAUX)
def test_command_parses_with_its_config(command, parse, monkeypatch):
    monkeypatch.chdir(ROOT)
    parse(shlex.split(command)[1:])


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_make_target_exists(command):
    assert re.search(rf"^{command.split()[1]}:", (ROOT / "Makefile").read_text(), re.M)


def test_commands_are_of_known_kinds():
    assert all(command.startswith(("detaux ", "make ")) for command in COMMANDS)


@pytest.mark.parametrize("option", ["--help", "doctor", "run --help"])
def test_looking_commands_run(option):
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


@pytest.mark.parametrize("name", PROSE)
def test_files_in_documents_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    files = r"\b((?:detaux|shards|tests|docs|benchmarks|launch|configs)/[\w./-]+\.(?:py|md|yaml|sh|sbatch|csv))\b"
    for file in re.findall(files, text):
        assert "NAME" in file or (ROOT / file).is_file(), file


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
