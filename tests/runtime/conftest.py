import json
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("rank_calls.py")


@pytest.fixture(scope="session")
def calls(start_ranks_for_session):
    """What each of two ranks printed, by name: [rank 0's, rank 1's]."""
    processes = start_ranks_for_session(2, PROGRAM)
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    found = [json.loads(output.splitlines()[-1]) for output in outputs]
    return {name: [one[name] for one in found] for name in found[0]}
