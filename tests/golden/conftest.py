from pathlib import Path

import pytest
from golden.play import Player

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def player(tmp_path_factory, fork_server):
    """A player of cases on the code of this tree, in a folder of its own."""
    return Player(fork_server, tmp_path_factory.mktemp("golden"), ROOT)
