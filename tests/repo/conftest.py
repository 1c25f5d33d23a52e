"""How the documents' commands are read, and how whole runs are started."""

from pathlib import Path

import pytest

from detaux.arguments import parse_arguments
from detaux.config import load_config
from detaux.launch import parse_launch


@pytest.fixture
def parse():
    """parse(words): what detaux's own parser makes of the words after `detaux`; whatever config they name is loaded."""

    def parse(words):
        parsed = parse_arguments(words)
        source = getattr(parsed, "config", None)
        if parsed.command == "shards" and parsed.action == "build":
            source = parsed.source if parsed.source.endswith(".yaml") else None
            load_config(source, parsed.overrides)
        elif parsed.command == "launch":
            parse_launch(parsed.target, source, parsed.overrides)
        elif source:
            load_config(source, parsed.overrides)
        return parsed

    return parse


@pytest.fixture
def detaux(fork_server):
    """detaux(ARGUMENT, ...): the exit code and the output of the command."""

    def detaux(*arguments):
        process = fork_server.start(["-m", "detaux", *arguments], cwd=Path(__file__).parents[2])
        output, _ = process.communicate(timeout=600)
        return process.returncode, output

    return detaux
