import errno
import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from safetensors.torch import save_file

from detaux import cli
from detaux.errors import UserError
from detaux.runtime.files import atomic_path, hash_file, hash_path, lock_file, lock_folder, write_json

SLOW_WRITER = """
import sys, time
from pathlib import Path
from detaux.runtime.files import atomic_path
with atomic_path(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    print("half written", flush=True)
    time.sleep(60)
"""


def test_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"old": True})
    with subprocess.Popen([sys.executable, "-c", SLOW_WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "half written\n"
        os.kill(writer.pid, signal.SIGKILL)
    assert json.loads(path.read_text()) == {"old": True}
    write_json(path, {"new": True})
    assert json.loads(path.read_text()) == {"new": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["value.json"]


def fail_within(path, error):
    with atomic_path(path):
        raise error


def test_sentence_of_a_block_stays_what_it_is_on_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(UserError, match=r"class c has 0 samples \[Errno 2\]"):
        fail_within(tmp_path / "set", UserError("class c has 0 samples [Errno 2]."))
    with pytest.raises(OSError, match="No space left on device"):
        fail_within(tmp_path / "set", RuntimeError("of a library"))


def test_error_of_the_system_without_a_file_names_that_which_is_written(tmp_path):
    with pytest.raises(OSError, match="File too large") as caught:
        fail_within(tmp_path / "set", OSError(errno.EFBIG, "File too large"))
    assert caught.value.filename == str(tmp_path / "set")
    with pytest.raises(OSError, match="gone") as caught:
        fail_within(tmp_path / "set", OSError(errno.EIO, "gone", "another"))
    assert caught.value.filename == "another"


def test_failing_block_leaves_the_old_folder(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "old").touch()

    def write_and_fail():
        with atomic_path(folder) as partial:
            partial.mkdir()
            (partial / "new").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert [entry.name for entry in folder.iterdir()] == ["old"]


def test_finished_block_replaces_the_folder_whole(tmp_path):
    folder = tmp_path / "deep" / "set"
    for name in ("first", "second"):
        with atomic_path(folder) as partial:
            partial.mkdir()
            (partial / name).touch()
    assert [entry.name for entry in folder.iterdir()] == ["second"]


KILLED_SWAP = """
import os, shutil, signal, sys
from pathlib import Path
from detaux.runtime.files import atomic_path

folder, last = Path(sys.argv[1]), int(sys.argv[2])
with atomic_path(folder) as partial:
    partial.mkdir()
    (partial / "new").touch()
    (partial / "manifest").touch()
    done = 0
    def die_before_the_last(call):
        def counted(*arguments, **options):
            global done
            if done == last:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return call(*arguments, **options)
        return counted
    os.replace, os.unlink = die_before_the_last(os.replace), die_before_the_last(os.unlink)
"""


@pytest.mark.parametrize(("calls", "expected"), [(0, "old"), (1, None), (2, "new"), (3, "new")])
def test_kill_at_any_call_of_a_swap_leaves_a_whole_folder_or_none(tmp_path, calls, expected):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "old").touch()
    (folder / "manifest").touch()
    process = subprocess.run([sys.executable, "-c", KILLED_SWAP, str(folder), str(calls)], check=False)
    assert process.returncode == -signal.SIGKILL
    found = {entry.name for entry in folder.iterdir()} if folder.exists() else None
    assert found == (expected and {expected, "manifest"})
    with atomic_path(folder) as partial:
        partial.mkdir()
        (partial / "next").touch()
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]
    assert [entry.name for entry in folder.iterdir()] == ["next"]


def test_folder_replaces_a_link_and_leaves_what_it_led_to(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    (tmp_path / "set").symlink_to(tmp_path / "elsewhere")
    with atomic_path(tmp_path / "set") as partial:
        partial.mkdir()
    assert not (tmp_path / "set").is_symlink()
    assert (tmp_path / "elsewhere" / "kept").is_file()


def test_json_refuses_nan_and_keeps_the_old_value(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_file_hash_matches_sha256(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(range(256)) * 5000)
    assert hash_file(path) == hash_path(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_folder_hash_changes_with_any_file_below(tmp_path):
    inner = tmp_path / "cats"
    inner.mkdir()
    (inner / "a.png").write_bytes(b"1")
    seen = [hash_path(tmp_path)]
    assert hash_path(tmp_path) == seen[0]
    (inner / "b.png").write_bytes(b"2")
    seen.append(hash_path(tmp_path))
    (inner / "b.png").rename(inner / "c.png")
    seen.append(hash_path(tmp_path))
    (inner / "c.png").write_bytes(b"longer")
    seen.append(hash_path(tmp_path))
    (inner / "c.png").unlink()
    os.utime(inner / "a.png", (1, 1))
    seen.append(hash_path(tmp_path))
    assert len(set(seen)) == len(seen)


def test_write_that_fails_on_a_full_disk_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    with pytest.raises(OSError, match="No space left on device") as caught, atomic_path(tmp_path / "model"):
        raise RuntimeError("the writer of a library failed")
    assert caught.value.errno == errno.ENOSPC


def test_failure_with_room_left_keeps_its_error(tmp_path):
    with pytest.raises(RuntimeError, match="a bug"), atomic_path(tmp_path / "model"):
        raise RuntimeError("a bug")


def test_folder_is_held_by_one_process_and_freed_with_it(tmp_path):
    code = f"""
import time
from pathlib import Path
from detaux.runtime.files import lock_folder
with lock_folder(Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    (tmp_path / "kept").touch()
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="another detaux process works in"), lock_folder(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with lock_folder(tmp_path):
        (tmp_path / "kept").unlink()
    assert not tmp_path.exists()  # an empty run folder is taken away


def test_file_that_another_process_holds_is_waited_for(tmp_path):
    code = f"""
from pathlib import Path
from detaux.runtime.files import lock_file
with lock_file(Path({str(tmp_path)!r}) / "tar.lock", wait=None):
    print("held", flush=True)
    input()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    waits = []

    def wait():
        waits.append(holder.poll())
        holder.communicate("\n")

    with lock_file(tmp_path / "tar.lock", wait):
        assert waits == [None]
        assert (tmp_path / "tar.lock").is_file()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("leaves_folder", [True, False])
def test_lock_whose_file_was_removed_meanwhile_is_taken_again(tmp_path, monkeypatch, leaves_folder):
    folder = tmp_path / "run"
    folder.mkdir()
    lock, calls = fcntl.lockf, []

    def lock_after_the_last_holder_left(stream, flags):
        if not calls:
            (folder / ".lock").unlink()
            if not leaves_folder:
                folder.rmdir()
        calls.append(flags)
        lock(stream, flags)

    monkeypatch.setattr(fcntl, "lockf", lock_after_the_last_holder_left)
    with lock_folder(folder):
        assert (folder / ".lock").is_file()
    assert len(calls) == 2


def write_folder(path):
    path.mkdir()
    (path / "file").write_bytes(bytes(2**21))


# each writes 2 MiB or more to a path
WRITERS = {
    "text": lambda path: path.write_text("x" * 2**21),
    "torch": lambda path: torch.save(torch.zeros(2**20), path),
    "safetensors": lambda path: save_file({"a": torch.zeros(2**20)}, path),
    "parquet": lambda path: parquet.write_table(pa.table({"a": np.random.default_rng(0).random(2**20)}), path),
    "numpy": lambda path: np.savez(path.open("wb"), a=np.zeros(2**20)),
    "folder": write_folder,
}


@pytest.mark.parametrize("name", WRITERS)
def test_limit_on_the_size_of_files_is_told_whatever_library_writes(tmp_path, monkeypatch, capsys, name):
    def write(parsed):
        with atomic_path(tmp_path / "file") as path:
            WRITERS[name](path)

    monkeypatch.setitem(cli.HANDLERS, "doctor", write)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        code = cli.run_command(["doctor"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    assert capsys.readouterr().err.endswith("File too large; what was checkpointed is intact.\n")
    assert not (tmp_path / "file").exists()
