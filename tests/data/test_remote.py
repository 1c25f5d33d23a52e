"""Shard sets behind a real HTTP server on this machine, and behind a command."""

import http.server
import itertools
import json
import multiprocessing
import os
import re
import shutil
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from detaux.cli import run_command
from detaux.config import load_config
from detaux.config.schema import DataConfig
from detaux.data import remote, source
from detaux.data.remote import fetch_set, locate_set
from detaux.data.schema import SPLITS, read_manifest
from detaux.data.split import find_damaged
from detaux.data.stream import SampleStream
from detaux.errors import UserError
from detaux.runtime.files import hash_file
from shards.build import build_shards

BUILD_KEYS = (
    "data.principal=scale",
    "data.grid=[3,3,3,3,2,1]",
    "data.side=16",
    "data.block_samples=16",
    "data.shard_samples=64",
)
TRAIN_KEYS = (
    "run.device=cpu",
    "run.threads=1",
    "pairs.pool=64",
    "model.subspaces=4",
    "disentangle.warmup.steps=4",
    "disentangle.main.steps=4",
)
TAR = "train-00000.tar"


class Server:
    """Serves `folder` at `url` and counts the requests; `faults[name]` lists what goes wrong, request by request."""

    def __init__(self, folder):
        self.folder, self.requests, self.faults, self.delay = folder, Counter(), {}, 0.0
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self.released = threading.Event()
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/set"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, request):
        name = request.path.partition("?")[0].removeprefix("/set/")
        self.requests[name] += 1
        fault = next(self.faults.get(name, iter(())), None)
        path = self.folder / name
        if fault == "fail" or not path.is_file():
            request.send_error(503 if fault else 404)
            return
        content = path.read_bytes()
        time.sleep(self.delay)
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if fault in ("stall", "truncate"):
            request.wfile.write(content[:1000])
            request.wfile.flush()
            if fault == "stall":
                self.released.wait(60)
        else:
            request.wfile.write(content[:-1] + b"x" if fault == "wrong bytes" else content)

    def close(self):
        self.released.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A set with two training tars, one for validation and one for the test."""
    folder = tmp_path_factory.mktemp("source") / "set"
    build_shards(load_config(None, BUILD_KEYS), folder)
    return folder


@pytest.fixture
def server(shards):
    server = Server(shards)
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _quick_attempts(monkeypatch):
    monkeypatch.setattr(source, "BACKOFF_SECONDS", 0.01)


@pytest.fixture
def place(tmp_path):
    """place(url, ...): a data config that caches in a folder of this test."""
    return lambda url, **keys: DataConfig(shards=url, remote_cache=str(tmp_path / "cache"), **keys)


def list_cache(tmp_path):
    """Files of the cache, hidden ones too, without the manifests."""
    paths = (tmp_path / "cache").rglob("*")
    return sorted(path.name for path in paths if path.is_file() and path.name != "manifest.json")


def read_keys(folder, **keys):
    stream = SampleStream(folder, "train", DataConfig(window=40, **keys), seed=0, device=torch.device("cpu"))
    return stream.window(0, stream.samples).keys(list(range(stream.samples)))


def wait_until(is_so):
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def refuse(data, splits=("train",)):
    with pytest.raises(UserError) as refused:
        fetch_set(data, splits)
    assert str(refused.value).endswith(".")
    return str(refused.value)


def test_fetched_set_equals_the_source_and_gives_the_same_order(server, shards, place):
    folder = fetch_set(place(server.url), SPLITS)
    assert read_manifest(folder) == read_manifest(shards)
    assert all(find_damaged(folder, read_manifest(folder), split) == {} for split in SPLITS)
    for workers in (0, 1):
        assert read_keys(folder, workers=workers) == read_keys(shards)


def test_only_the_tars_of_the_splits_are_fetched_and_named_by_their_hash(server, shards, place, tmp_path):
    folder = fetch_set(place(server.url), ["train"])
    train = sorted(shards.glob("train-*.tar"))
    assert len(train) == 2
    assert server.requests == {"manifest.json": 1, **{path.name: 1 for path in train}}
    assert list_cache(tmp_path) == sorted(name for path in train for name in (path.name, f"{hash_file(path)}.tar"))
    assert folder == locate_set(hash_file(shards / "manifest.json"), str(tmp_path / "cache"))


def test_second_fetch_asks_for_the_manifest_alone(server, place):
    fetch_set(place(server.url), SPLITS)
    server.requests.clear()
    fetch_set(place(server.url), SPLITS)
    assert server.requests == {"manifest.json": 1}


def test_changed_set_is_another_one_and_fetches_only_the_tar_that_changed(server, shards, place, tmp_path):
    before = fetch_set(place(server.url), SPLITS)
    server.folder = shutil.copytree(shards, tmp_path / "changed")
    path = server.folder / TAR
    path.write_bytes(path.read_bytes() + bytes(512))
    manifest = json.loads((server.folder / "manifest.json").read_text())
    entry = next(shard for shard in manifest["shards"] if shard["name"] == TAR)
    entry.update(size=path.stat().st_size, sha256=hash_file(path))
    (server.folder / "manifest.json").write_text(json.dumps(manifest))
    server.requests.clear()
    after = fetch_set(place(server.url), SPLITS)
    assert server.requests == {"manifest.json": 1, TAR: 1}
    assert hash_file(after / TAR) == hash_file(path)
    assert hash_file(before / TAR) == hash_file(shards / TAR)


def test_tar_that_was_damaged_in_the_cache_is_fetched_again(server, shards, place):
    folder = fetch_set(place(server.url), ["train"])
    content = bytearray((folder / TAR).read_bytes())
    content[700] ^= 1
    (folder / TAR).write_bytes(content)  # a hard link: the file by hash is damaged with it
    server.requests.clear()
    fetch_set(place(server.url), ["train"])
    assert server.requests == {"manifest.json": 1, TAR: 1}
    assert hash_file(folder / TAR) == hash_file(shards / TAR)


@pytest.mark.parametrize(
    ("name", "fault"),
    [("manifest.json", "fail"), ("manifest.json", "truncate"), (TAR, "fail"), (TAR, "truncate"), (TAR, "wrong bytes")],
)
def test_source_that_fails_three_times_is_tried_a_fourth_time(server, shards, place, name, fault):
    server.faults[name] = iter([fault] * 3)
    folder = fetch_set(place(server.url), ["train"])
    assert server.requests[name] == 4
    assert hash_file(folder / name) == hash_file(shards / name)


FAULTS = {
    "fail": "HTTP 503 Service Unavailable",
    "truncate": r"the connection ended \d+ bytes too early",
    "wrong bytes": "the file that came has another sha256 than the manifest says",
    "stall": "no bytes for 0.8 s",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_source_that_keeps_failing_is_named_in_one_sentence(server, place, tmp_path, fault, monkeypatch):
    monkeypatch.setattr(source, "ATTEMPTS", 2)
    server.faults[TAR] = itertools.repeat(fault)
    sentence = refuse(place(server.url, remote_timeout=0.8 if fault == "stall" else 30.0))
    expected = rf"{server.url}/{TAR} cannot be fetched: {FAULTS[fault]}, in the last of 2 attempts\."
    assert re.fullmatch(expected, sentence)
    assert server.requests[TAR] == 2
    assert not any(TAR in name or name.startswith(".") for name in list_cache(tmp_path))


def test_server_that_is_not_there_is_named(server, place):
    server.close()
    assert re.fullmatch(
        rf"{server.url}/manifest.json cannot be fetched: .*Connection refused.*", refuse(place(server.url))
    )


def test_query_of_a_url_goes_behind_the_name_and_into_no_message(server, place):
    fetch_set(place(f"{server.url}/?signature=secret"), ["train"])
    server.folder /= "gone"
    sentence = refuse(place(f"{server.url}/?signature=secret"))
    assert sentence.startswith(f"{server.url}/manifest.json cannot be fetched: HTTP 404 Not Found")
    assert "secret" not in sentence


def test_pipe_command_gives_the_files(shards, place):
    folder = fetch_set(place(f"pipe:cat {shards}/{{name}}"), SPLITS)
    assert read_keys(folder) == read_keys(shards)


WRONG_MANIFESTS = {
    "name": ["../x.tar", "a/b.tar", "/x.tar", "x;touch bad.tar", "$(touch bad).tar", "-x.tar", ".x.tar", "x.zip"],
    "sha256": ["../../x", "", "A" * 64, "0" * 63],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in WRONG_MANIFESTS for value in WRONG_MANIFESTS[field]]
)
def test_manifest_that_names_no_plain_file_is_refused_before_anything_is_written(
    shards, place, tmp_path, monkeypatch, field, value
):
    manifest = json.loads((shards / "manifest.json").read_text())
    manifest["shards"][0][field] = value
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.chdir(tmp_path)
    assert f"shards[0].{field} is " in refuse(place(f"pipe:cat {tmp_path}/{{name}}"))
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_page_in_place_of_a_manifest_is_refused_by_its_url(server, tmp_path, place):
    (tmp_path / "manifest.json").write_text("<html>please log in</html>")
    server.folder = tmp_path
    assert refuse(place(server.url)).startswith(f"{server.url}/manifest.json is not a valid manifest")
    assert not (tmp_path / "cache").exists()


def test_source_that_sends_without_end_is_cut_off(place, shards, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "ATTEMPTS", 1)
    monkeypatch.setattr(remote, "MAX_MANIFEST_BYTES", 10**5)
    assert "more than 100000 bytes came" in refuse(place("pipe:yes # {name}"))
    url = f"pipe:case {{name}} in *.tar) yes;; *) cat {shards}/{{name}};; esac"
    assert re.search(r"more than the \d+ bytes of the manifest came", refuse(place(url)))
    assert list_cache(tmp_path) == []


def test_cache_that_cannot_be_made_is_refused_with_its_key(server, tmp_path, place):
    (tmp_path / "cache").write_text("a file")
    assert "data.remote_cache" in refuse(place(server.url))


def test_cache_lies_in_the_users_cache_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert locate_set("0" * 64, None).parent.parent == tmp_path / "detaux" / "shards"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate_set("0" * 64, None).parent.parent == tmp_path / ".cache" / "detaux" / "shards"


def start(target, *arguments):
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


def test_processes_of_one_machine_fetch_a_tar_once(server, place):
    server.delay = 0.3  # so that each begins before the other has ended
    processes = [start(fetch_set, place(server.url), SPLITS) for _ in range(3)]
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert server.requests.pop("manifest.json") == 3
    assert set(server.requests.values()) == {1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_fetch_ends_soon_and_leaves_a_sound_cache(server, shards, place, tmp_path, number):
    server.faults[TAR] = iter(["stall"])
    process = start(fetch_set, place(server.url), SPLITS)
    wait_until(lambda: server.requests[TAR])
    os.kill(process.pid, number)
    process.join(5)
    assert process.exitcode not in (0, None)
    assert TAR not in list_cache(tmp_path)
    folder = fetch_set(place(server.url), SPLITS)
    assert hash_file(folder / TAR) == hash_file(shards / TAR)
    assert not any(name.startswith(".") for name in list_cache(tmp_path))


def detaux(*arguments):
    return run_command([str(argument) for argument in arguments])


def test_training_reads_a_remote_set_like_a_local_one(server, shards, tmp_path, capsys):
    (tmp_path / "config.yaml").touch()
    keys = (*TRAIN_KEYS, f"data.remote_cache={tmp_path}/cache")
    command = ("disentangle", tmp_path / "config.yaml", *keys)
    assert detaux(*command, f"data.shards={server.url}", f"run.dir={tmp_path}/far") == 0
    assert detaux(*command, f"data.shards={shards}", f"run.dir={tmp_path}/near") == 0
    model = Path("disentangle", "checkpoint", "model.safetensors")
    far, near = (load_file(tmp_path / run / model) for run in ("far", "near"))
    assert all(torch.equal(far[name], near[name]) for name in near)
    assert "test-00000.tar" not in server.requests
    server.requests.clear()
    for url in (server.url, shards, shards.as_uri()):  # the same set, wherever it lies
        capsys.readouterr()
        assert detaux(*command, f"data.shards={url}", f"run.dir={tmp_path}/far") == 0
        assert "disentangle: unchanged" in capsys.readouterr().out
    assert server.requests == {"manifest.json": 1}


RANK_PROGRAM = """
import sys
from detaux import pipeline
from detaux.config import load_config
pipeline.call_runner = lambda stage, job, folder: print(sorted(path.name for path in job.shards.glob("*.tar")))
pipeline.run_stages(["disentangle"], pipeline.Job(load_config(None, sys.argv[1:]), ""))
"""


def test_ranks_of_one_machine_share_what_they_fetch(server, tmp_path, start_ranks):
    keys = (f"data.remote_cache={tmp_path}/cache", f"data.shards={server.url}", f"run.dir={tmp_path}/run")
    ranks = start_ranks(2, "-c", RANK_PROGRAM, "run.device=cpu", *keys)
    for rank in ranks:
        assert "['train-00000.tar', 'train-00001.tar']" in rank.communicate(timeout=60)[0]
    assert server.requests == {"manifest.json": 1, TAR: 1, "train-00001.tar": 1}


def test_shard_commands_take_a_url(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert detaux("shards", "info", server.url) == 0
    assert server.requests == {"manifest.json": 1}
    assert detaux("shards", "verify", server.url) == 0
    assert f"{server.url} is sound." in capsys.readouterr().out
    cache = tmp_path / "elsewhere"
    assert detaux("shards", "verify", server.url, f"data.remote_cache={cache}") == 0
    assert sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) > 0
    capsys.readouterr()
    for key in ("data.remote_timeout=-1", "data.side=8"):
        assert detaux("shards", "info", server.url, key) == 2
        assert key.split("=")[0] in capsys.readouterr().err
    assert detaux("shards", "verify", f"{server.url}/none") == 2
    assert "/set/none/manifest.json cannot be fetched: HTTP 404" in capsys.readouterr().err
