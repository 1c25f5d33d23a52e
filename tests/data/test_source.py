import os
import random
import re
import threading
import time
from pathlib import Path

import pytest

from detaux.config.schema import DataConfig
from detaux.data import source
from detaux.data.source import RemoteSource, SourceError
from detaux.errors import UserError


@pytest.fixture
def open_source(monkeypatch, tmp_path):
    """open_source(url, ...): a source whose attempts follow each other at once; commands run in an empty folder."""
    monkeypatch.setattr(source, "BACKOFF_SECONDS", 0.01)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda url, **keys: RemoteSource(DataConfig(shards=url, **keys), threading.Event())


def read(opened, name="a.tar"):
    chunks = []
    opened.copy(name, chunks.append)
    return b"".join(chunks)


def test_command_gives_all_its_bytes(open_source, tmp_path):
    content = random.Random(0).randbytes(3 * source.CHUNK_BYTES + 7)
    (tmp_path / "a.tar").write_bytes(content)
    assert read(open_source(f"pipe:cat {tmp_path}/{{name}}")) == content
    assert read(open_source(f"pipe:sleep 0.3; cat {tmp_path}/{{name}} && echo warning >&2")) == content


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("cat {name} >&2; exit 3", "cat: a.tar: No such file or directory"),
        ("echo some bytes; exit 1 # {name}", "exit code 1"),
        ("kill -9 $$ # {name}", "exit code -9"),
        ("printf 'access denied.\\n\\033\\n\\n' >&2; exit 1 # {name}", "access denied"),
    ],
)
def test_command_that_fails_is_told_by_its_last_words(open_source, command, reason):
    with pytest.raises(SourceError) as raised:
        read(open_source(f"pipe:{command}"))
    assert str(raised.value) == reason


def test_silent_command_is_ended_with_its_children(open_source):
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"no bytes for 0\.5 s"):
        read(open_source("pipe:sh -c 'echo $$ > pid; sleep 60' | cat # {name}", remote_timeout=0.5))
    assert 0.5 < time.monotonic() - begun < 5
    process = Path(f"/proc/{Path('pid').read_text().strip()}/cmdline")
    while process.is_file() and process.read_bytes():  # of a zombie, which waits for its new parent, it is empty
        assert time.monotonic() - begun < 20
        time.sleep(0.02)


def test_slow_command_is_not_a_silent_one(open_source):
    command = "pipe:for i in 1 2 3 4 5 6; do printf $i; sleep 0.2; done # {name}"
    assert read(open_source(command, remote_timeout=0.8)) == b"123456"


def test_command_that_does_not_end_after_its_last_byte_fails(open_source):
    with pytest.raises(SourceError, match=r"did not end within 0\.5 s"):
        read(open_source("pipe:echo {name}; exec >&-; sleep 60", remote_timeout=0.5))


def test_stopped_source_ends_its_command_and_its_waiting(open_source):
    opened, begun = open_source("pipe:sleep 60 # {name}"), time.monotonic()
    threading.Timer(0.3, opened.stop.set).start()
    for wait in (lambda: read(opened), lambda: opened.pause(60)):
        with pytest.raises(source.StoppedError):
            wait()
    assert time.monotonic() - begun < 5


def test_pauses_between_attempts_double_and_differ(open_source, monkeypatch):
    pauses = []
    monkeypatch.setattr(source, "BACKOFF_SECONDS", 1.0)
    monkeypatch.setattr(RemoteSource, "pause", lambda self, seconds: pauses.append(seconds))

    def fail():
        raise SourceError("busy")

    state = random.getstate()
    for _ in range(2):
        with pytest.raises(UserError, match=r"^pipe:cat a\.tar cannot be fetched: busy, in the last of 4 attempts\.$"):
            open_source("pipe:cat {name}").retry("a.tar", fail)
    for pause, middle in zip(pauses, (1, 2, 4) * 2, strict=True):
        assert middle / 2 <= pause <= middle * 3 / 2
    assert len(set(pauses)) == 6
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://host/set/", "https://host/set/a.tar"),
        ("https://host", "https://host/a.tar"),
        ("https://host/set?key=secret", "https://host/set/a.tar"),
        ("s3://bucket/we?ird/", "s3://bucket/we?ird/a.tar"),
        ("pipe:ssh host cat {name} # {name}", "pipe:ssh host cat a.tar # a.tar"),
    ],
)
def test_messages_name_a_file_by_its_url(open_source, url, expected):
    assert open_source(url).describe("a.tar") == expected


def test_object_store_is_read_through_fsspec(open_source, tmp_path, monkeypatch):
    """A package called s3fs that finds its bucket on this disk."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "s3fs.py").write_text(
        "from fsspec.implementations.local import LocalFileSystem\n"
        "__version__ = '1'\n"
        "class S3FileSystem(LocalFileSystem):\n"
        "    protocol = 's3'\n"
        "    @classmethod\n"
        "    def _strip_protocol(cls, path):\n"
        f"        return str(path).replace('s3://bucket', {str(tmp_path)!r})\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.tar").write_bytes(b"content")
    opened = open_source("s3://bucket/set/")
    assert read(opened) == b"content"
    with pytest.raises(SourceError, match="No such file or directory"):
        read(opened, "b.tar")


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_object_store_without_its_package_is_refused_at_once(open_source, monkeypatch, scheme, package):
    monkeypatch.setattr(source, "find_spec", lambda name: None)
    expected = re.escape(f"{scheme}://bucket/set/a.tar needs the Python package {package};")
    with pytest.raises(UserError, match=expected):
        read(open_source(f"{scheme}://bucket/set"))
