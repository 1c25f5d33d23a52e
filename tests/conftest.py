"""Settings of the whole suite: one thread, so that timings and sums do not depend on the machine; seeded properties; real
processes for ranks; and coloured images with a hidden factor, as a shard set with a model that tells the colours apart."""

import gc
import os

gc.disable()  # until all tests are imported: torch makes a million objects, which every collection would visit
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch and numpy load: threads would wait for one another

import json
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from forks import ForkServer
from hypothesis import settings
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import shards.build
from detaux import pipeline
from detaux.cli import run_command
from detaux.data.schema import BlockEntry, Manifest, Shard, write_manifest
from detaux.data.split import Split
from detaux.runtime.record import compute_inputs_hash, hash_inputs, write_record
from shards.write import Samples, write_shard

SIDE = 8  # pixels of the coloured images
# a shell's background job begins with SIGINT ignored, and so would every process of a test
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("suite", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("suite")


def pytest_collection_finish(session):
    """Leave out of every later collection what the imports made and the whole suite keeps."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)  # tests make many objects that live long, such as drawn examples
    gc.enable()


def pytest_unconfigure(config):
    gc.freeze()  # the interpreter's last collection would visit every object once more


class ChannelModel(torch.nn.Module):
    """Subspace k < 3 is the mean of colour channel k, subspace 3 is dead; the code draws a plain image of its colour."""

    alpha, num_subspaces = 0, 4

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(10.0))

    def encode(self, images_NCHW):
        return self.scale * images_NCHW.mean((2, 3))

    def project(self, latents_ND):
        return torch.cat([torch.diag_embed(latents_ND), torch.zeros_like(latents_ND)[:, None]], dim=1)

    def select_free(self, latents_ND):
        return latents_ND

    def decode(self, latents_ND):
        return (latents_ND / self.scale)[:, :, None, None].expand(-1, -1, SIDE, SIDE)


def draw_split(samples=400, hidden=5, seed=0):
    """Images whose red is the principal class (3 levels), whose green is a hidden factor and whose blue is anything."""
    random = np.random.default_rng(seed)
    red, green = random.integers(3, size=samples), random.integers(hidden, size=samples)
    colours = np.stack(
        [40 + 80 * red, 20 + 200 // max(1, hidden - 1) * green, random.integers(20, 236, samples)], axis=1
    )
    pixels = colours[:, None, None] + random.integers(-9, 10, (samples, SIDE, SIDE, 3))
    return Split(
        images=torch.from_numpy(pixels.astype(np.uint8)),
        labels=torch.from_numpy(red),
        keys=[f"{index:05d}" for index in range(samples)],
        factors=torch.from_numpy(np.stack([red, green], axis=1)),
    )


def write_split_set(folder, train, validation=None, test=None):
    """Write a shard set of such splits, a tar each. The tar of a split that is not given is promised and not there, so that
    whoever reads the split fails."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for name, split in (("train", train), ("validation", validation), ("test", test)):
        path = folder / f"{name}-00000.tar"
        if split is None:
            shards.append(Shard(path.name, name, 8, 8192, "0" * 64, [BlockEntry(0, 8192, 8)]))
        else:
            factors = None if split.factors is None else split.factors.numpy()
            samples = Samples(split.images.numpy(), split.labels.numpy(), split.keys, factors)
            shards.append(write_shard(path, name, "packed", samples, block_samples=64))
    known = {} if train.factors is None else {"red": 3, "green": 5}
    manifest = Manifest("drawn", "packed", SIDE, 3, ["dark", "mid", "light"], "red", known, {}, shards)
    write_manifest(folder, manifest)


@pytest.fixture(scope="session", autouse=True)
def _grow_small_forests():
    """Trainings in this process score known factors by forests of few trees, which takes a third of a small training
    otherwise. The numbers of whole forests are those of the golden cases, in processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detaux.disentangle.factor_scores.TREES", 3)
        yield


@pytest.fixture(scope="session")
def make_model():
    return lambda: ChannelModel().eval()


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture(scope="session")
def make_split():
    return draw_split


@pytest.fixture(scope="session")
def write_splits():
    return write_split_set


def find_port():
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory):
    """Starts Python programs without their imports: fork_server.start([FILE or -m MODULE or -c CODE, ARGUMENT ...])."""
    server = ForkServer(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


def start_processes(fork_server):
    """Yields start_ranks(world_size, *arguments, **environment): Python processes that form one run, killed at the end."""
    started = []

    def start_ranks(world_size, *arguments, **environment):
        place = {"WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_port())}
        ranks = [
            fork_server.start(arguments, env={**place, "RANK": str(rank), "LOCAL_RANK": str(rank), **environment})
            for rank in range(world_size)
        ]
        started.extend(ranks)
        return ranks

    yield start_ranks
    for process in started:
        process.kill()
        process.communicate()


class Trap:
    """Leaves a mark on the disk when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def trap(tmp_path):
    """A program in the form of a pickle; `trap.mark` exists once somebody has run it."""
    return Trap(tmp_path / "sprung")


@pytest.fixture
def free_port():
    """A port nobody listens on at the moment."""
    return find_port()


start_ranks = pytest.fixture(start_processes, name="start_ranks")
start_ranks_for_module = pytest.fixture(start_processes, scope="module", name="start_ranks_for_module")
start_ranks_for_session = pytest.fixture(start_processes, scope="session", name="start_ranks_for_session")


@pytest.fixture(scope="session")
def run_interpreted(tmp_path_factory):
    """run_interpreted(*arguments): the exit code and output of pytest on every interpreted.py, in one process in which Triton
    interprets on the CPU. The same arguments run them once, for the process imports for ten seconds."""

    @cache
    def run(*arguments):
        paths = sorted(Path(__file__).parent.rglob("interpreted.py"))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths, *arguments]
        fixed = {"TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))}
        environment = os.environ | fixed | {"CUDA_VISIBLE_DEVICES": ""}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return result.returncode, result.stdout[-5000:] + result.stderr[-2000:]

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


class LargestFloats(TorchDispatchMode):
    """Records the bytes of the largest tensor of floats that an operation gives."""

    bytes = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        found = function(*arguments, **(options or {}))
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                self.bytes = max(self.bytes, value.numel() * value.element_size())
        return found


@pytest.fixture
def largest_floats():
    """LargestFloats, to be entered around what is measured."""
    return LargestFloats()


def make_manifest(data):
    split = {"rule": "random", "seed": data.split_seed, "labelled_fraction": data.labelled_fraction}
    left_out = [{"file": "cats/7.png", "reason": "truncated"}]
    return Manifest("digits", "packed", 16, 3, ["even", "odd"], "digit", {}, split, [], left_out)


@pytest.fixture
def chain(monkeypatch, tmp_path):
    """The chain with stages that only write what the next one reads, and a list of those that ran."""
    ran = []
    outputs = {
        "disentangle": "checkpoint/model.safetensors",
        "discover": "labels.parquet",
        "multitask": "metrics.json",
        "report": "report.html",
    }

    def build(config, folder):
        ran.append("shards")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_manifest(folder, make_manifest(config.data))
        write_record(folder, "shards", config, hash_inputs(shards.build.list_inputs(config)), ["manifest.json"], 0.0)

    def make_runner(stage):
        def run(job, folder):
            ran.append(f"{stage}@{job.variant.name}" if job.variant else stage)
            path = folder / outputs[stage]
            path.parent.mkdir(parents=True, exist_ok=True)
            hashes = hash_inputs(job.list_inputs(stage))
            path.write_text(compute_inputs_hash(stage, job.config, hashes))  # what is left depends on all that is read
            if stage != "report":
                write_record(folder, stage, job.config, hashes, [outputs[stage]], 0.0)

        return run

    monkeypatch.setattr(shards.build, "build_shards", build)
    monkeypatch.setattr(pipeline, "call_runner", lambda stage, job, folder: make_runner(stage.name)(job, folder))
    (tmp_path / "photos").mkdir()
    (tmp_path / "good.yaml").write_text(f"data: {{source: folder, path: {tmp_path}/photos}}\n")

    def run(command="run", *overrides):
        ran.clear()
        exit_code = run_command([command, f"{tmp_path}/good.yaml", f"run.dir={tmp_path}/demo", *overrides])
        return exit_code, list(ran)

    return run
