"""How the documents' commands are read."""

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
