"""Settings of the whole suite: one thread, so that timings and sums do not depend on the machine; seeded properties; and
real processes for ranks."""

import os
import socket
import subprocess
import sys

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("suite", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("suite")


def find_port():
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_processes():
    """Yields start_ranks(world_size, *arguments, **environment): Python processes that form one run, killed at the end."""
    started = []

    def start_ranks(world_size, *arguments, **environment):
        place = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_port())}
        ranks = [
            subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank), **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(world_size)
        ]
        started.extend(ranks)
        return ranks

    yield start_ranks
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def free_port():
    """A port nobody listens on at the moment."""
    return find_port()


start_ranks = pytest.fixture(start_processes, name="start_ranks")
start_ranks_for_module = pytest.fixture(start_processes, scope="module", name="start_ranks_for_module")


@pytest.fixture
def run_tests(request, tmp_path):
    """run_tests(file, **environment): pytest on a file beside the test's own in a fresh process, in which Triton interprets
    only if the environment says so."""

    def run(file, **environment):
        inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", request.path.with_name(file)]
        cache = {"TRITON_CACHE_DIR": str(tmp_path)}
        result = subprocess.run(
            command, env=inherited | cache | environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]

    return run
