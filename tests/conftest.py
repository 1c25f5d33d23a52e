"""Settings of the whole suite: one thread, so that timings and sums do not depend on the machine; seeded properties; and
real processes for ranks."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import defaultdict

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell's background job begins with SIGINT ignored, and so would every process of a test
signal.signal(signal.SIGINT, signal.default_int_handler)

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


def read_records(path):
    """The records of a .wandb file: a LevelDB log of protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    block, header, first_byte = 32768, 7, 7
    data, place, whole = path.read_bytes(), first_byte, b""
    while place + header <= len(data):
        room = block - place % block
        _, length, part = struct.unpack_from("<IHB", data, place)
        if room < header or part == 0:  # the rest of a block is padding
            place += room
            continue
        whole += data[place + header : place + header + length]
        place += header + length
        if part in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def read_wandb(folder, seconds=30):
    """Every record of the .wandb files below a folder, by kind, once W&B's own process has ended each of them."""
    deadline = time.monotonic() + seconds
    while True:
        found, paths = defaultdict(list), sorted(folder.glob("**/wandb/offline-run-*/*.wandb"))
        for record in (record for path in paths for record in read_records(path)):
            kind = record.WhichOneof("record_type")
            found[kind].append(getattr(record, kind))
        if len(found["exit"]) == len(paths):
            return found
        assert time.monotonic() < deadline, f"W&B has ended {len(found['exit'])} of {len(paths)} runs"
        time.sleep(0.05)


@pytest.fixture
def wandb_offline(tmp_path, monkeypatch):
    """W&B without a key, its own files out of the way; the value reads back what it wrote below a folder."""
    for name in ("WANDB_API_KEY", "WANDB_SERVICE"):  # the latter names a process of W&B that children would share
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "of-wandb"))
    return read_wandb


@pytest.fixture
def read_history():
    """read_history(records): the rows of a W&B history, as plain dicts."""

    def read(records):
        return [
            {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row.item}
            for row in sorted(records["history"], key=lambda row: row.step.num)
        ]

    return read


@pytest.fixture
def list_workspace_keys():
    """list_workspace_keys(workspace): the keys that its panels name, by their kind, read from what W&B's server would get."""
    finders = {
        "Run History Line Plot": lambda config: [config["xAxis"], *config["metrics"]],
        "Bar Chart": lambda config: config["metrics"],
        "Media Browser": lambda config: config["mediaKeys"],
        "Vega2": lambda config: _find_values(config["userQuery"], "name", "tableKey", "value"),
        "Weave": lambda config: [config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]],
    }

    def read(workspace):
        spec = json.loads(workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
        keys = defaultdict(set)
        for section in spec["section"]["panelBankConfig"]["sections"]:
            for panel in section["panels"]:
                keys[panel["viewType"]] |= set(finders[panel["viewType"]](panel["config"]))
        return keys

    return read


def _find_values(tree, name, value, wanted):
    """What stands under `wanted` in the mappings of a tree whose `name` is `value`."""
    inner = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    own = [tree[wanted]] if isinstance(tree, dict) and tree.get(name) == value else []
    return own + [found for one in inner for found in _find_values(one, name, value, wanted)]
